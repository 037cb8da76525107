import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { openTx } from '@likewise/database/testing'
import { Failure, buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { nameOf, takeAllShards, until, write } from '../testing.ts'
import { type WalContext, runWal } from './run-wal.ts'
import { readWalHealth } from './slot.ts'
import { disableWal } from './switch.ts'
import { type WalTest, enabled, limits, walDatabase } from './testing.ts'
import { walTelemetry } from './wal-telemetry.ts'

let test: WalTest
let running: AbortController[]
let ended: Promise<unknown>[]

beforeEach(async () => {
  test = await walDatabase('wal_faults')
  ;[running, ended] = [[], []]
  await enabled(test)
})
afterEach(async () => {
  for (const stopping of running) stopping.abort()
  expect(await Promise.all(ended)).toEqual(ended.map(() => undefined))
  await disableWal(test.switch)
  await test.drop()
})

function start(overrides: Partial<WalContext>): void {
  const stopping = new AbortController()
  running.push(stopping)
  const context: WalContext = {
    db: test.db,
    url: test.url,
    owner: randomUUID(),
    leases: () => [],
    deliver: async () => undefined,
    reading: () => undefined,
    limits,
    log: buildLogger({ service: 'test', level: 'silent' }),
    telemetry: walTelemetry(buildTelemetry('test')),
    stopping: stopping.signal,
    slot: test.slot,
    ...overrides,
  }
  ended.push(runWal(context))
}

const unpublished = async () =>
  (await test.db.query(sql`select from catalog.outbox_status where status <> 'PUBLISHED'`)).length

describe('a relay that reads the WAL', () => {
  it('takes along the cursors of shards that it gets late, also when no more events come (I8)', async () => {
    const owner = randomUUID()
    const all = await takeAllShards(test.db, owner)
    let held = all.slice(0, 0)
    const sent: string[] = []
    start({ owner, leases: () => held, deliver: async (events) => void sent.push(...events.map(nameOf)) })
    await write(test.db, ['a', 'b', 'c', 'd', 'e', 'f', 'g'])
    await until('all are delivered', () => sent.length === 7)
    await pause(3_000)
    expect(await unpublished()).toBe(7)
    held = all.slice(0, 6)
    await pause(1_500)
    held = all
    await until('all cursors have stepped', async () => (await unpublished()) === 0, 5_000)
    // and then they rest
    const steps = async () =>
      (await test.db.query<{ n: bigint }>(sql`select sum(n) as n from catalog.outbox_cursors`))[0]?.n
    const before = await steps()
    await pause(2_500)
    expect(await steps()).toEqual(before)
  }, 30_000)

  it('ends what it has in hand when its stream breaks, however long the broker is away', async () => {
    const sent: string[] = []
    let endings = 0
    start({
      deliver: async (events, ending) => {
        if (endings > 0) return void sent.push(...events.map(nameOf))
        await pause(60_000, ending) // an outage: the delivery would try again for ever
        endings += 1
        throw new Failure('BROKER_UNAVAILABLE', 'Nobody listens.')
      },
    })
    await write(test.db, ['a', 'b'])
    await until('it is in hand', async () => (await readWalHealth(test.db, test.slot)).slot?.active === true)
    await pause(500)
    const { slot } = await readWalHealth(test.db, test.slot)
    await test.db.query(sql`select pg_terminate_backend(${slot!.activePid}::int)`)
    await until('it has ended', () => endings === 1, 5_000)
    await until('the events come again', () => sent.length === 2, 5_000)
    expect(sent).toEqual(['a', 'b'])
  }, 30_000)

  it('ends within seconds where its last position cannot be noted, and sends it once more (I1)', async () => {
    const sent: string[] = []
    start({ deliver: async (events) => void sent.push(...events.map(nameOf)) })
    const reads = async () => (await readWalHealth(test.db, test.slot)).slot?.active === true
    await until('it reads', reads)
    // Whoever alters a table that way keeps every statement on it waiting.
    const open = await openTx(test.db)
    await open.tx.execute(sql`lock table catalog.outbox_meta in access exclusive mode`)
    await write(test.db, ['a', 'b'])
    await until('they are delivered', () => sent.length === 2)
    await pause(1_500) // the positions are noted once a second
    const begunMs = performance.now()
    running[0]?.abort()
    await ended[0]
    expect(performance.now() - begunMs).toBeLessThan(6_000)
    await open.commit()
    start({ deliver: async (events) => void sent.push(...events.map(nameOf)) })
    await until('they come again', () => sent.length === 4)
    expect(sent).toEqual(['a', 'b', 'a', 'b'])
  }, 30_000)
})
