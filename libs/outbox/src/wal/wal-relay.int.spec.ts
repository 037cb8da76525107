import { randomBytes } from 'node:crypto'
import { ensureLogins, raw, sql, urlOf } from '@likewise/database'
import { Failure, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { discard, redrive } from '../parked.ts'
import { republish } from '../rewind.ts'
import {
  type TestRelay,
  type TestRelays,
  buildRelays,
  nameOf,
  numbered,
  parkedNames,
  until,
  write,
} from '../testing.ts'
import { disableWal, enableWal } from './switch.ts'
import { type WalTest, walDatabase } from './testing.ts'

let test: WalTest
let relays: TestRelays
let refused: Set<string>
let away: boolean

beforeEach(async () => {
  test = await walDatabase('wal_relay')
  relays = buildRelays(test)
  refused = new Set()
  away = false
})
afterEach(async () => {
  await relays.stop()
  await disableWal(test.switch)
  await test.drop()
  expect(relays.bugs).toEqual([])
}, 60_000)

const start = (source?: 'poll' | 'wal'): TestRelay =>
  relays.start({
    ...(source && { source }),
    limits: { pageRowsMax: 8 },
    publish: async (events) => {
      if (away) throw new Failure('BROKER_UNAVAILABLE', 'Nobody listens.')
      if (events.some((event) => refused.has(nameOf(event)))) throw new Failure('EVENT_REFUSED', 'Too large.')
    },
  })
const came = (names: readonly string[]) =>
  until('all came', () => names.every((name) => relays.names().includes(name)))

it('a relay that is a user of its own may read the WAL while the outbox is read from it, and not before or after', async () => {
  const user = `lw_${randomBytes(6).toString('hex')}`
  const url = urlOf(test.url, { user, password: 'of-the-test' })
  await ensureLogins(test.url, [{ role: 'likewise_relay', variable: 'RELAY_DATABASE_URL', url }])
  const mayRead = async () => {
    const [row] = await test.db.query<{ may: boolean }>(
      sql`select rolreplication as may from pg_roles where rolname = ${user}`,
    )
    return row?.may
  }
  const own = buildRelays({ ...test, url })
  try {
    own.start({ limits: { pageRowsMax: 8 } })
    expect(await mayRead()).toBe(false)
    await enableWal(test.switch)
    expect(await mayRead()).toBe(true)
    await write(test.db, numbered('a', 20))
    await until('all came', () => own.names().length >= 20)
    await until('it reads the slot as itself', async () => {
      const [reader] = await test.db.query<{ user: string }>(sql`
        select usename::text as user from pg_stat_replication as r
        join pg_replication_slots as s on s.active_pid = r.pid where s.slot_name = ${test.slot}`)
      return reader?.user === user
    })
    await disableWal(test.switch)
    // Another test file may be reading from this server now, and its users with it.
    const [other] = await test.db.query(sql`select from pg_replication_slots where slot_type = 'logical'`)
    if (!other) expect(await mayRead()).toBe(false)
  } finally {
    await own.stop()
    await test.db.execute(raw(`drop role ${user}`))
  }
}, 60_000)

describe.each(['poll', 'wal'] as const)('two relays, source %s', (source) => {
  let running: TestRelay[]

  beforeEach(async () => {
    running = [start(), start()]
    if (source === 'wal') await enableWal(test.switch)
  }, 60_000)

  it('publish everything, first copies in the order of each key (I1, I4)', async () => {
    const names = numbered('a', 60).flatMap((name) => [name, name.replace('a', 'b'), name.replace('a', 'c')])
    await write(test.db, names)
    await came(names)
    for (const key of ['a', 'b', 'c']) expect(relays.firstCopies(key)).toEqual(numbered(key, 60))
  }, 60_000)

  it('wait an outage of the broker out, and park nothing (I6)', async () => {
    away = true
    await write(test.db, numbered('a', 20))
    await pause(1_000)
    away = false
    await came(numbered('a', 20))
    expect(relays.firstCopies('a')).toEqual(numbered('a', 20))
    expect(await parkedNames(test.db)).toEqual([])
  }, 60_000)

  it('park a refused event with its key behind it, and move both in order when asked (I4, I9)', async () => {
    refused.add('b0001')
    await write(test.db, ['a0000', 'b0000', 'b0001', 'b0002', 'a0001'])
    await came(['a0000', 'a0001', 'b0000'])
    await until('parked', async () => (await parkedNames(test.db)).join() === 'b0001,b0002')
    await write(test.db, ['b0003', 'a0002'])
    await until('behind', async () => (await parkedNames(test.db)).length === 3)
    refused.clear()
    await redrive(test.as('likewise_operator'), { selection: { partitionKey: 'b' }, actor: 'test' })
    await until('moved', async () => (await parkedNames(test.db)).length === 0)
    await write(test.db, ['b0004'])
    await came(['a0002', 'b0004'])
    expect(relays.firstCopies('b')).toEqual(numbered('b', 5))
    expect(relays.firstCopies('a')).toEqual(numbered('a', 3))
  }, 60_000)

  it('never send what was discarded', async () => {
    refused.add('b0000')
    await write(test.db, ['b0000', 'b0001'])
    await until('parked', async () => (await parkedNames(test.db)).length === 2)
    refused.clear()
    const [{ id } = { id: '' }] = await test.db.query<{ id: string }>(
      sql`select id::text as id from catalog.outbox_parked where reason = 'refused'`,
    )
    await discard(test.as('likewise_operator'), { selection: { eventId: id }, actor: 'test' })
    await came(['b0001'])
    expect(relays.names()).not.toContain('b0000')
  }, 60_000)

  it('lose and reorder nothing when one after the other is stopped and started again (I1, I4)', async () => {
    const writing = write(test.db, numbered('a', 150))
    for (const relay of running) {
      await relay.stop()
      start()
      await pause(200)
    }
    await writing
    await came(numbered('a', 150))
    expect(relays.firstCopies('a')).toEqual(numbered('a', 150))
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
        await write(test.db, numbered('a', 10, written))
        written += 10
      }
    })()
    await pause(300)
    await enableWal(test.switch)
    await pause(1_000)
    await expect(republish(test.as('likewise_operator'), { actor: 'test' })).rejects.toMatchObject({
      code: 'CONFLICT',
    })
    await disableWal(test.switch)
    await pause(300)
    over.abort()
    await writing
    const names = Array.from({ length: written }, (_, i) => `a${String(i).padStart(4, '0')}`)
    await came(names)
    expect(relays.firstCopies('a')).toEqual(names)
  }, 90_000)

  it('back while the reader has a refused event in hand leaves nobody waiting (I6)', async () => {
    start()
    start()
    await enableWal(test.switch)
    refused.add('b0000')
    await write(test.db, ['b0000'])
    await until('parked', async () => (await parkedNames(test.db)).length === 1)
    const over = new AbortController()
    let count = 0
    const writing = (async () => {
      while (!over.signal.aborted)
        await write(test.db, [`b${String((count += 1)).padStart(4, '0')}`, `a${String(count)}`])
    })()
    for (let i = 0; i < 3; i += 1) {
      await disableWal(test.switch)
      await pause(700)
      await enableWal(test.switch)
      await pause(700)
    }
    over.abort()
    await writing
    await came([`a${String(count)}`])
    await until('the tail waits', async () => (await parkedNames(test.db)).length === count + 1)
  }, 120_000)
})

describe('a relay that is told which source to expect', () => {
  it('says so while the outbox is published another way, and publishes all the same', async () => {
    const relay = start('wal')
    await write(test.db, ['a0000'])
    await came(['a0000'])
    expect(relay.fault()?.message).toMatch(/RELAY_SOURCE is wal, .* `likewise outbox wal enable`/)
    await enableWal(test.switch)
    await until('it is as expected', () => relay.fault() === null)
  }, 60_000)
})

describe('a slot that is gone', () => {
  it('is told as the fault of every relay, and disable mends it without loss (I1)', async () => {
    const relay = start()
    await enableWal(test.switch)
    await write(test.db, ['a0000'])
    await came(['a0000'])
    await relay.stop()
    await test.db.execute(sql`select pg_drop_replication_slot(${test.slot})`)
    await write(test.db, ['a0001'])
    const next = start()
    await until('it is refused', () => next.fault() !== null)
    expect(next.fault()).toMatchObject({ code: 'SLOT_UNUSABLE' })
    expect(next.fault()?.message).toMatch(/likewise outbox wal disable/)
    await disableWal(test.switch)
    await came(['a0001'])
    await until('it is mended', () => next.fault() === null)
  }, 60_000)
})
