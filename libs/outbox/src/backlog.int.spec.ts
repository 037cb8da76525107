import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { type ShardBacklog, readBacklog } from './backlog.ts'
import { renewLeases, takeLeases } from './lease.ts'
import { numbered, write } from './testing.ts'
import { recordAttempt, settle } from './step.ts'
import { type Window, nextWindows } from './window.ts'

const owner = randomUUID()
const shard = shardOf('100')
let test: TestDatabase
let epoch: bigint

beforeEach(async () => {
  test = await freshDatabase('backlog')
  const { leases } = await renewLeases(test.as('likewise_relay'), owner, 600_000)
  epoch = (await takeLeases(test.as('likewise_relay'), owner, [leases[shard]!]))[0]!.epoch
})
afterEach(() => test.drop())

const open = async (): Promise<Window> =>
  (await nextWindows(test.as('likewise_relay'), owner, [{ shard, epoch }]))[0]!
const holder = () => ({ owner, epoch })
const ofShard = async (): Promise<ShardBacklog> => (await readBacklog(test.as('likewise_relay')))[shard]!

describe('the backlog', () => {
  it('names every shard of an empty outbox, with nothing waiting and nobody but the holder', async () => {
    const backlog = await readBacklog(test.as('likewise_relay'))
    expect(backlog.map((one) => one.shard)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    for (const one of backlog) {
      expect(one).toMatchObject({ pending: 0n, oldestAgeMs: null, attempts: 0, lastError: null })
      expect(one.owner).toBe(one.shard === shard ? owner : null)
    }
  })

  it('counts per shard what is committed, and its oldest by the clock of the database', async () => {
    await write(test.db, numbered('e', 3), '100')
    await write(test.db, numbered('e', 2), '1')
    const uncommitted = await openTx(test.db)
    await write(uncommitted.tx, numbered('e', 5), '100')
    await test.db.execute(sql`
      update catalog.outbox_events set created_at = now() - interval '1 hour'
      where seq = (select min(seq) from catalog.outbox_events)`)
    const backlog = await readBacklog(test.as('likewise_relay'))
    expect(backlog[shard]).toMatchObject({ pending: 3n })
    expect(backlog[shard]?.oldestAgeMs).toBeGreaterThanOrEqual(3_600_000)
    expect(backlog[shard]?.oldestAgeMs).toBeLessThan(3_660_000)
    expect(backlog[shardOf('1')]).toMatchObject({ pending: 2n })
    await uncommitted.commit()
    expect((await ofShard()).pending).toBe(8n)
  })

  it('counts a window that is half published by what is left of it, and what came after it', async () => {
    await write(test.db, numbered('e', 4), '100')
    const window = await open()
    expect((await ofShard()).pending).toBe(4n)
    await write(test.db, numbered('e', 2), '100')
    const settled = await settle(test.as('likewise_relay'), holder(), window, {
      afterSeq: window.lastSeq - 1n,
    })
    expect((await ofShard()).pending).toBe(3n)
    await settle(test.as('likewise_relay'), holder(), settled!, { afterSeq: window.lastSeq })
    expect((await ofShard()).pending).toBe(2n)
  })

  it('counts a row that committed late behind rows that are published', async () => {
    const late = await openTx(test.db)
    await write(late.tx, numbered('e', 1), '100')
    await write(test.db, numbered('e', 1), '100')
    const window = await open()
    await settle(test.as('likewise_relay'), holder(), window, { afterSeq: window.lastSeq })
    expect(await ofShard()).toMatchObject({ pending: 0n, oldestAgeMs: null })
    await late.commit()
    expect((await ofShard()).pending).toBe(1n)
  })

  it('agrees with outbox_status about what is not published', async () => {
    const late = await openTx(test.db)
    await write(late.tx, numbered('e', 2), '100')
    await write(test.db, numbered('e', 5), '100')
    const window = await open()
    await settle(test.as('likewise_relay'), holder(), window, { afterSeq: window.lastSeq - 2n })
    await late.commit()
    await write(test.db, numbered('e', 3), '100')
    const [row] = await test.db.query<{ count: bigint }>(sql`
      select count(*) from catalog.outbox_status where status <> 'PUBLISHED'`)
    expect((await ofShard()).pending).toBe(row?.count)
  })

  it('tells the attempts and the last error', async () => {
    await write(test.db, numbered('e', 1), '100')
    await recordAttempt(test.db, holder(), await open(), 'Kafka is away')
    expect(await ofShard()).toMatchObject({ pending: 1n, attempts: 1, lastError: 'Kafka is away' })
  })

  it('names nobody as owner of a shard whose lease ran out', async () => {
    await test.db.execute(sql`update catalog.outbox_relays set seen_until = now()`)
    expect(await ofShard()).toMatchObject({ owner: null, epoch })
  })
})
