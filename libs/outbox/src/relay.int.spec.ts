import { randomUUID } from 'node:crypto'
import { type Queryable, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { enqueue } from './enqueue.ts'
import { renewLeases, takeLeases } from './lease.ts'
import type { OutboxEvent } from './page.ts'
import { type Relay, type RelayLimits, startRelay } from './relay.ts'

const limits: RelayLimits = {
  pageRowsMax: 5,
  pageBytesMax: 100_000,
  pollMinMs: 2,
  pollMaxMs: 20,
  leaseMs: 1_500,
  backoffBaseMs: 5,
  backoffCapMs: 20,
}
const log = buildLogger({ service: 'test', level: 'silent' })
const allShards = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
let test: TestDatabase
let sent: { name: string; key: string; by: string }[]
let relays: Relay[]
const bugs: unknown[] = []

beforeAll(async () => {
  test = await freshDatabase('relay')
})
afterAll(() => test.drop())
beforeEach(() => {
  sent = []
  relays = []
})
afterEach(async () => {
  await Promise.all(relays.map((relay) => relay.stop()))
  expect(bugs).toEqual([])
})

function start(
  by = 'relay',
  publish: (events: readonly OutboxEvent[]) => Promise<void> = async () => {},
): Relay {
  const relay = startRelay({
    db: test.db,
    url: test.url,
    limits,
    log,
    telemetry: buildTelemetry('test'),
    fail: (error) => bugs.push(error),
    publish: async (events) => {
      await publish(events)
      sent.push(...events.map(({ payload, partitionKey }) => ({ ...nameOf(payload), key: partitionKey, by })))
    },
  })
  relays.push(relay)
  return relay
}

const nameOf = (payload: string) => JSON.parse(payload) as { name: string }

/** Enqueues one event per name, each in its own transaction unless told. */
async function write(
  names: readonly string[],
  keyOf: (name: string) => string,
  db: Queryable = test.db,
): Promise<void> {
  for (const name of names) {
    await enqueue(db, {
      eventType: 'test.happened.v1',
      aggregateType: 'product',
      aggregateId: keyOf(name),
      topic: 'test',
      partitionKey: keyOf(name),
      payload: JSON.stringify({ name }),
    })
  }
}

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(i).padStart(4, '0')}`)

async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 15_000): Promise<void> {
  for (const end = performance.now() + limitMs; !(await holds()); await pause(10)) {
    if (performance.now() > end) throw new Error(`Not within ${String(limitMs)} ms: ${what}`)
  }
}

const unpublished = async (): Promise<number> =>
  (await test.db.query(sql`select 1 from catalog.outbox_status where status <> 'PUBLISHED'`)).length

const leaseRows = () =>
  test.db.query<{ shard: number; owner: string | null; epoch: bigint }>(sql`
    select shard::int as shard, owner::text as owner, epoch from catalog.outbox_leases order by shard`)

/** The names in the order in which each was sent for the first time. */
const firstCopies = (): string[] => [...new Set(sent.map(({ name }) => name))]

describe('one relay', () => {
  it('publishes every committed event once and in order while nothing fails', async () => {
    const names = numbered('one-', 60)
    await write(names, (name) => String(Number(name.slice(-4)) % 7))
    start()
    await until('all are published', async () => (await unpublished()) === 0)
    expect(sent.map(({ name }) => name).sort()).toEqual(names)
    for (let key = 0; key < 7; key += 1) {
      const ofKey = sent.filter((event) => event.key === String(key)).map(({ name }) => name)
      expect(ofKey).toEqual([...ofKey].sort())
    }
  })

  it('settles the page that is on its way before it stops, and sends nothing after it', async () => {
    const names = numbered('stop-', 12)
    await write(names, () => '100')
    let arrived = 0
    let answer: () => void = () => {}
    const answered = new Promise<void>((resolve) => (answer = resolve))
    const relay = start('relay', async () => {
      arrived += 1
      await answered
    })
    await until('a page is on its way', () => arrived === 1)
    const stopped = relay.stop()
    await pause(50)
    answer()
    await stopped
    expect([arrived, sent.length]).toEqual([1, 5])
    expect(await unpublished()).toBe(7)
    start('next')
    await until('all are published', async () => (await unpublished()) === 0)
    expect(sent.map(({ name }) => name)).toEqual(names)
  })

  it('stops at once when it has nothing to do, also right after its start', async () => {
    const began = performance.now()
    await start().stop()
    await start().stop()
    expect(performance.now() - began).toBeLessThan(1_000)
  })
})

describe('several relays', () => {
  it('share the shards fairly, and share them anew when one joins', async () => {
    const [a, b] = [start('a'), start('b')]
    await until('two hold 6 each', () => a.shards().length === 6 && b.shards().length === 6)
    expect([...a.shards(), ...b.shards()].sort((x, y) => x - y)).toEqual(allShards)
    const c = start('c')
    await until('three hold 4 each', () => [a, b, c].every((relay) => relay.shards().length === 4))
    expect([...a.shards(), ...b.shards(), ...c.shards()].sort((x, y) => x - y)).toEqual(allShards)
  })

  it('publish together what one would publish alone, each event once', async () => {
    const [a, b] = [start('a'), start('b')]
    await until('both have shards', () => a.shards().length === 6 && b.shards().length === 6)
    const names = numbered('both-', 80)
    await write(names, (name) => name)
    await until('all are published', async () => (await unpublished()) === 0)
    expect(sent.map(({ name }) => name).sort()).toEqual(names)
    expect(new Set(sent.map(({ by }) => by))).toEqual(new Set(['a', 'b']))
  })

  it('give a shard back between two pages, however long its backlog is', async () => {
    const names = numbered('backlog-', 400)
    await test.db.tx((tx) => write(names, () => '100', tx))
    const a = start('a', () => pause(100))
    await until('it publishes', () => sent.length > 0)
    const b = start('b')
    await until('both hold 6', () => a.shards().length === 6 && b.shards().length === 6)
    await until('all are published', async () => (await unpublished()) === 0)
    expect(firstCopies()).toEqual(names)
    expect(sent.at(-1)?.by).toBe('b')
    expect(sent.filter(({ by }) => by === 'a').length).toBeLessThan(400)
  })

  it('keep the events of one user and product in order while relays come and go', async () => {
    const names = numbered('order-', 150)
    const writing = write(names, () => '100')
    for (let round = 0; round < 4; round += 1) {
      const [a, b] = [start(`a${String(round)}`), start(`b${String(round)}`)]
      await until('it goes on', () => sent.length > 0 || a.shards().length + b.shards().length > 0)
      await pause(100)
      await Promise.all([a.stop(), b.stop()])
    }
    await writing
    start('last')
    await until('all are published', async () => (await unpublished()) === 0)
    expect(firstCopies()).toEqual(names)
  })

  it('give their shards back at once when they stop', async () => {
    const relay = start()
    await until('it holds all', () => relay.shards().length === 12)
    await relay.stop()
    expect(relay.shards()).toEqual([])
    expect((await leaseRows()).filter(({ owner }) => owner !== null)).toEqual([])
    expect(await test.db.query(sql`select owner from catalog.outbox_relays`)).toEqual([])
  })
})

describe('a relay that is gone', () => {
  /** Takes every shard as a relay that then dies: it neither renews nor gives back. */
  async function die(leaseMs: number): Promise<{ owner: string; epochs: bigint[] }> {
    const owner = randomUUID()
    const { leases } = await renewLeases(test.db, owner, leaseMs)
    const taken = await takeLeases(test.db, owner, leases, leaseMs)
    expect(taken).toHaveLength(12)
    return { owner, epochs: taken.sort((x, y) => x.shard - y.shard).map(({ epoch }) => epoch) }
  }

  it('loses its shards with the next epoch once its lease ran out, and not before', async () => {
    const { owner, epochs } = await die(700)
    await write(numbered('dead-', 30), (name) => name)
    const relay = start()
    const other = start()
    for (let ranOut = false; !ranOut; await pause(20)) {
      const held = [...relay.shards(), ...other.shards()]
      const [row] = await test.db.query<{ ranOut: boolean }>(sql`
        select bool_or(owner <> ${owner}::uuid or lease_until <= now()) as "ranOut" from catalog.outbox_leases`)
      ranOut = row?.ranOut === true
      if (!ranOut) expect({ held, sent }).toEqual({ held: [], sent: [] })
    }
    await until('others hold all', () => relay.shards().length === 6 && other.shards().length === 6)
    const now = await leaseRows()
    expect(now.every((lease, i) => lease.owner !== owner && lease.epoch > epochs[i]!)).toBe(true)
    await until('all are published', async () => (await unpublished()) === 0)
    expect(sent).toHaveLength(30)
  })

  it('does not keep its shards for ever by a lease that lies absurdly far in the future', async () => {
    const { owner, epochs } = await die(700)
    await test.db.execute(sql`update catalog.outbox_leases set lease_until = now() + interval '1 year'`)
    const relay = start()
    await until('it holds all', () => relay.shards().length === 12)
    const now = await leaseRows()
    expect(now.map(({ epoch }) => epoch)).toEqual(epochs.map((epoch) => epoch + 1n))
    expect(now.some((lease) => lease.owner === owner)).toBe(false)
  })

  it('left a window half published: the next relay goes on behind the last page that was settled', async () => {
    const names = numbered('half-', 14)
    await write(names, () => '100')
    let pages = 0
    const dying = start('dying', async () => {
      if ((pages += 1) === 2)
        await test.db.execute(sql`
        update catalog.outbox_leases set owner = ${randomUUID()}::uuid, epoch = epoch + 1, lease_until = now()`)
    })
    await until('two pages were sent', () => sent.length >= 10)
    await dying.stop()
    start('next')
    await until('all are published', async () => (await unpublished()) === 0)
    expect(firstCopies()).toEqual(names)
    expect(sent.filter(({ name }) => name < names[5]!)).toHaveLength(5)
  })
})
