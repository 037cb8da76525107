import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, explained, freshDatabase, openTx } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { readBacklog } from './backlog.ts'
import { enqueue } from './enqueue.ts'
import { type Lease, renewLeases, takeLeases } from './lease.ts'
import { isPublishedUpTo } from './wal/progress.ts'
import { settle } from './step.ts'
import { nextWindows } from './window.ts'

const owner = randomUUID()
const shard = shardOf('100')
let test: TestDatabase
let held: Lease[]

beforeEach(async () => {
  test = await freshDatabase('backlog_cost')
  const { leases } = await renewLeases(test.db, owner, 600_000)
  held = await takeLeases(test.db, owner, leases, 600_000)
})
afterEach(() => test.drop())

const write = (count: number, keys = 1, db: Parameters<typeof enqueue>[0] = test.db): Promise<string[]> => {
  const about = { eventType: 'test.happened.v1', aggregateType: 'product', aggregateId: '1', topic: 'test' }
  return enqueue(
    db,
    Array.from({ length: count }, (_, i) => ({
      ...about,
      partitionKey: String(100 + (i % keys)),
      payload: '{}',
    })),
  )
}

/** Publishes the windows there are, but for their last `left` seqs. */
async function publish(left = 0n): Promise<void> {
  for (const window of await nextWindows(test.db, owner, held)) {
    const { epoch } = held.find((lease) => lease.shard === window.shard)!
    await settle(test.db, { owner, epoch }, window, { afterSeq: window.lastSeq - left })
  }
}
const pending = async (db = test.db): Promise<bigint> => (await readBacklog(db))[shard]!.pending
const snapshotNow = async (): Promise<string> =>
  (await test.db.query<{ now: string }>(sql`select pg_current_snapshot()::text as now`))[0]!.now

describe('counting what waits', () => {
  it('does not read again what a finished window has published', async () => {
    await write(20_000, 100)
    await publish()
    await write(2)
    await test.db.execute(sql`analyze catalog.outbox_events`)
    const counting = explained(test.db)
    expect((await readBacklog(counting))[shard]).toMatchObject({ pending: 2n })
    expect(counting.rowsTouched()).toBeLessThan(500)
    const looking = explained(test.db)
    expect(await isPublishedUpTo(looking, await snapshotNow())).toBe(false)
    await publish()
    expect(await isPublishedUpTo(looking, await snapshotNow())).toBe(true)
    expect(looking.rowsTouched()).toBeLessThan(500)
  })

  it('finds a row that committed behind a finished window, whatever its seq, and what is left of another', async () => {
    const [late, later] = [await openTx(test.db), await openTx(test.db)]
    await write(1, 1, late.tx)
    await write(4)
    await publish()
    await write(1, 1, later.tx)
    expect([await pending(), await isPublishedUpTo(test.db, await snapshotNow())]).toEqual([0n, true])
    await late.commit()
    await later.commit()
    expect([await pending(), await isPublishedUpTo(test.db, await snapshotNow())]).toEqual([2n, false])
    await publish(1n)
    expect([await pending(), await isPublishedUpTo(test.db, await snapshotNow())]).toEqual([1n, false])
    await publish()
    expect([await pending(), await isPublishedUpTo(test.db, await snapshotNow())]).toEqual([0n, true])
  })
})
