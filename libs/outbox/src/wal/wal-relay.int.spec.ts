import { sql } from '@likewise/database'
import { Failure, buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { enqueue } from '../enqueue.ts'
import type { OutboxEvent } from '../page.ts'
import { discard, redrive } from '../parked.ts'
import { type Relay, startRelay } from '../relay.ts'
import { republish } from '../rewind.ts'
import { disableWal, enableWal } from './switch.ts'
import { type WalTest, walDatabase } from './testing.ts'

const limits = {
  pageRowsMax: 8,
  pageBytesMax: 100_000,
  pollMinMs: 2,
  pollMaxMs: 20,
  leaseMs: 1_500,
  backoffBaseMs: 2,
  backoffCapMs: 10,
}
let test: WalTest
let relays: Relay[]
let sent: string[]
let refused: Set<string>
let away: boolean
let bugs: unknown[]

beforeEach(async () => {
  test = await walDatabase('wal_relay')
  relays = []
  sent = []
  refused = new Set()
  away = false
  bugs = []
})
afterEach(async () => {
  await Promise.all(relays.map((relay) => relay.stop()))
  await disableWal({ ...test.switch, patienceMs: 10_000 })
  await test.drop()
  expect(bugs).toEqual([])
}, 60_000)

function start(source?: 'poll' | 'wal'): Relay {
  const relay = startRelay({
    db: test.db,
    url: test.url,
    slot: test.slot,
    ...(source && { source }),
    limits,
    log: buildLogger({ service: 'test', level: 'silent' }),
    telemetry: buildTelemetry('test'),
    fail: (error) => bugs.push(error),
    publish: async (events: readonly OutboxEvent[]) => {
      const names = events.map(({ payload }) => (JSON.parse(payload) as { name: string }).name)
      if (away) throw new Failure('BROKER_UNAVAILABLE', 'Nobody listens.')
      if (names.some((name) => refused.has(name))) throw new Failure('EVENT_REFUSED', 'Too large.')
      sent.push(...names)
    },
  })
  relays.push(relay)
  return relay
}

async function write(names: readonly string[]): Promise<void> {
  const about = { eventType: 'test.happened.v1', aggregateType: 'product', topic: 'test' }
  for (const name of names) {
    const key = name.slice(0, 1)
    await enqueue(test.db, {
      ...about,
      aggregateId: key,
      partitionKey: key,
      payload: JSON.stringify({ name }),
    })
  }
}
const numbered = (prefix: string, count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(from + i).padStart(3, '0')}`)
const firstOfKey = (key: string): string[] => [...new Set(sent.filter((name) => name.startsWith(key)))]
async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds()); await pause(10)) {
    if (performance.now() > end) throw new Error(`Not within ${String(limitMs)} ms: ${what}`)
  }
}
const came = (names: readonly string[]) => until('all came', () => names.every((name) => sent.includes(name)))
const waiting = async (): Promise<string[]> => {
  const rows = await test.db.query<{ name: string }>(
    sql`select payload->>'name' as name from catalog.outbox_parked where resolved_at is null order by seq`,
  )
  return rows.map(({ name }) => name)
}

describe.each(['poll', 'wal'] as const)('two relays, source %s', (source) => {
  beforeEach(async () => {
    start()
    start()
    if (source === 'wal') await enableWal({ ...test.switch, patienceMs: 20_000 })
  }, 60_000)

  it('publish everything, first copies in the order of each key (I1, I4)', async () => {
    const names = numbered('a', 60).flatMap((name) => [name, name.replace('a', 'b'), name.replace('a', 'c')])
    await write(names)
    await came(names)
    for (const key of ['a', 'b', 'c']) expect(firstOfKey(key)).toEqual(numbered(key, 60))
  }, 60_000)

  it('wait an outage of the broker out, and park nothing (I6)', async () => {
    away = true
    await write(numbered('a', 20))
    await pause(1_000)
    away = false
    await came(numbered('a', 20))
    expect(firstOfKey('a')).toEqual(numbered('a', 20))
    expect(await waiting()).toEqual([])
  }, 60_000)

  it('park a refused event with its key behind it, and move both in order when asked (I4, I9)', async () => {
    refused.add('b001')
    await write(['a000', 'b000', 'b001', 'b002', 'a001'])
    await came(['a000', 'a001', 'b000'])
    await until('parked', async () => (await waiting()).join() === 'b001,b002')
    await write(['b003', 'a002'])
    await until('behind', async () => (await waiting()).length === 3)
    refused.clear()
    await redrive(test.db, { selection: { partitionKey: 'b' }, actor: 'test' })
    await until('moved', async () => (await waiting()).length === 0)
    await write(['b004'])
    await came(['a002', 'b004'])
    expect(firstOfKey('b')).toEqual(numbered('b', 5))
    expect(firstOfKey('a')).toEqual(numbered('a', 3))
  }, 60_000)

  it('never send what was discarded', async () => {
    refused.add('b000')
    await write(['b000', 'b001'])
    await until('parked', async () => (await waiting()).length === 2)
    refused.clear()
    const [{ id } = { id: '' }] = await test.db.query<{ id: string }>(
      sql`select id::text as id from catalog.outbox_parked where reason = 'refused'`,
    )
    await discard(test.db, { selection: { eventId: id }, actor: 'test' })
    await came(['b001'])
    expect(sent).not.toContain('b000')
  }, 60_000)

  it('lose and reorder nothing when one after the other is stopped and started again (I1, I4)', async () => {
    const writing = write(numbered('a', 150))
    for (let i = 0; i < 2; i += 1) {
      await relays.shift()?.stop()
      start()
      await pause(200)
    }
    await writing
    await came(numbered('a', 150))
    expect(firstOfKey('a')).toEqual(numbered('a', 150))
  }, 60_000)
})

describe('a change of the source', () => {
  it('there and back under load loses and reorders nothing (I1, I4)', async () => {
    start()
    start()
    let written = 0
    const over = new AbortController()
    const writing = (async () => {
      while (!over.signal.aborted) {
        await write(numbered('a', 10, written))
        written += 10
      }
    })()
    await pause(300)
    await enableWal({ ...test.switch, patienceMs: 20_000 })
    await pause(1_000)
    await expect(republish(test.db, { actor: 'test' })).rejects.toMatchObject({ code: 'CONFLICT' })
    await disableWal({ ...test.switch, patienceMs: 20_000 })
    await pause(300)
    over.abort()
    await writing
    const names = Array.from({ length: written }, (_, i) => `a${String(i).padStart(3, '0')}`)
    await came(names)
    expect(firstOfKey('a')).toEqual(names)
  }, 90_000)

  it('back while the reader has a refused event in hand leaves nobody waiting (I6)', async () => {
    start()
    start()
    await enableWal({ ...test.switch, patienceMs: 20_000 })
    refused.add('b000')
    await write(['b000'])
    await until('parked', async () => (await waiting()).length === 1)
    const over = new AbortController()
    let count = 0
    const writing = (async () => {
      while (!over.signal.aborted)
        await write([`b${String((count += 1)).padStart(3, '0')}`, `a${String(count)}`])
    })()
    for (let i = 0; i < 3; i += 1) {
      await disableWal({ ...test.switch, patienceMs: 20_000 })
      await pause(700)
      await enableWal({ ...test.switch, patienceMs: 20_000 })
      await pause(700)
    }
    over.abort()
    await writing
    await came([`a${String(count)}`])
    await until('the tail waits', async () => (await waiting()).length === count + 1)
  }, 120_000)
})

describe('a relay that is told which source to expect', () => {
  it('says so while the outbox is published another way, and publishes all the same', async () => {
    const relay = start('wal')
    await write(['a000'])
    await came(['a000'])
    expect(relay.fault()?.message).toMatch(/RELAY_SOURCE is wal, .* `likewise outbox wal enable`/)
    await enableWal({ ...test.switch, patienceMs: 20_000 })
    await until('it is as expected', () => relay.fault() === null)
  }, 60_000)
})

describe('a slot that is gone', () => {
  it('is told as the fault of every relay, and disable mends it without loss (I1)', async () => {
    const relay = start()
    await enableWal({ ...test.switch, patienceMs: 20_000 })
    await write(['a000'])
    await came(['a000'])
    await relay.stop()
    relays = []
    await test.db.execute(sql`select pg_drop_replication_slot(${test.slot})`)
    await write(['a001'])
    const next = start()
    await until('it is refused', () => next.fault() !== null)
    expect(next.fault()).toMatchObject({ code: 'SLOT_UNUSABLE' })
    expect(next.fault()?.message).toMatch(/likewise outbox wal disable/)
    await disableWal({ ...test.switch, patienceMs: 20_000 })
    await came(['a001'])
    await until('it is mended', () => next.fault() === null)
  }, 60_000)
})
