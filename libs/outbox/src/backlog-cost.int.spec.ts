import { randomUUID } from 'node:crypto'
import { type Database, connectDatabase, sql } from '@likewise/database'
import { type TestDatabase, explained, freshDatabase, openTx } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { readBacklog } from './backlog.ts'
import { enqueue } from './enqueue.ts'
import { type Lease, renewLeases, takeLeases } from './lease.ts'
import { purgeRing } from './purge.ts'
import { isPublishedUpTo } from './wal/progress.ts'
import { settle, settleWhole } from './step.ts'
import { nextWindows } from './window.ts'

const owner = randomUUID()
const shard = shardOf('100')
let test: TestDatabase
let held: Lease[]

beforeEach(async () => {
  test = await freshDatabase('backlog_cost')
  const { leases } = await renewLeases(test.as('likewise_relay'), owner, 600_000)
  held = await takeLeases(test.as('likewise_relay'), owner, leases)
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

/** Puts so many rows on the shard's log, and removes all but the newest. */
async function ageLog(count: number): Promise<void> {
  await test.db.execute(sql`
    insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
    select c.shard, c.n + i, c.from_snapshot, c.to_snapshot, c.last_seq, c.after_seq, c.epoch
    from catalog.outbox_cursors as c cross join generate_series(1, ${count}::int) as i
    where c.shard = ${shard}::smallint`)
  await test.db.execute(sql`
    delete from catalog.outbox_cursors where shard = ${shard}::smallint and n < ${BigInt(count)} - 50`)
}

/** Publishes the windows there are, but for their last `left` seqs. */
async function publish(left = 0n): Promise<void> {
  for (const window of await nextWindows(test.as('likewise_relay'), owner, held)) {
    const { epoch } = held.find((lease) => lease.shard === window.shard)!
    await settle(test.as('likewise_relay'), { owner, epoch }, window, { afterSeq: window.lastSeq - left })
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

describe('a step of a cursor', () => {
  it('costs what it costs on a new log, also where an old snapshot keeps 20,000 removed rows of it', async () => {
    const reader = await openTx(test.db)
    await reader.tx.execute(sql`insert into catalog.likes (user_id, product_id) values (1, 1)`) // has an xid now
    await ageLog(20_000)
    await write(1)
    const [window] = await nextWindows(test.as('likewise_relay'), owner, held)
    const { epoch } = held.find((lease) => lease.shard === shard)!
    const stepping = explained(test.db)
    await settle(stepping, { owner, epoch }, window!, { afterSeq: window!.lastSeq })
    await reader.rollback()
    expect(stepping.blocksTouched()).toBeGreaterThan(0)
    expect(stepping.blocksTouched()).toBeLessThan(200)
  })
})

describe('a poll, a step and a renewal', () => {
  const renewals = 300

  it('cost what they cost at the start, also where an old snapshot keeps what 300 renewals have replaced', async () => {
    const reader = await openTx(test.db)
    await reader.tx.execute(sql`insert into catalog.likes (user_id, product_id) values (1, 1)`) // has an xid now
    const blocks = async () => {
      await write(1)
      const [polling, stepping, renewing] = [explained(test.db), explained(test.db), explained(test.db)]
      const [window] = await nextWindows(polling, owner, held)
      const { epoch } = held.find((lease) => lease.shard === shard)!
      await settle(stepping, { owner, epoch }, window!, { afterSeq: window!.lastSeq })
      await renewLeases(renewing, owner, 600_000)
      return [polling, stepping, renewing].map((each) => each.blocksTouched())
    }
    await blocks() // reads the catalogs
    const before = await blocks()
    for (let i = 0; i < renewals; i += 1) await renewLeases(test.as('likewise_relay'), owner, 600_000)
    const after = await blocks()
    await reader.rollback()
    for (const [i, now] of after.entries()) {
      expect(now).toBeGreaterThan(0)
      expect(now - before[i]!).toBeLessThan(30)
    }
  })
})

describe('a plan that is kept from when the tables were empty', () => {
  const small = { rowsMax: 100, bytesMax: 1_000_000 }
  let relay: Database
  beforeEach(() => {
    relay = connectDatabase({
      ...{ url: test.url, poolSizeMax: 1, connectTimeoutMs: 5_000, statementTimeoutMs: 60_000 },
      ...{ applicationName: 'test', alwaysByIndex: true },
    })
  })
  afterEach(() => relay.stop())

  const publishOnce = async (): Promise<number> => {
    const windows = await nextWindows(relay, owner, held, small)
    for (const window of windows) await settleWhole(relay, owner, [window])
    return windows.flatMap(({ events }) => events ?? []).length
  }

  /** Rows of these tables that were looked at so far, whatever way. */
  const looked = async (tables: string): Promise<number> => {
    await relay.execute(sql`select pg_stat_force_next_flush()`)
    const [sum] = await test.db.query<{ rows: number }>(sql`
      select (select sum(seq_tup_read) from pg_stat_user_tables where relname ~ ${tables})::float8
           + (select sum(idx_tup_read) from pg_stat_user_indexes where relname ~ ${tables})::float8 as rows`)
    return sum!.rows
  }

  it('does not look at events that were published before', async () => {
    for (let i = 0; i < 10; i += 1) await publishOnce()
    await write(5_000, 100)
    await publish()
    const before = await looked('^outbox_events')
    await write(3, 100)
    expect(await publishOnce()).toBe(3)
    expect((await looked('^outbox_events')) - before).toBeLessThan(100)
  })

  it('does not look at what lies in the log of all shards', async () => {
    for (let i = 0; i < 10; i += 1) {
      await write(1)
      await publishOnce()
    }
    await test.db.execute(sql`
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
      select shard, n - i, from_snapshot, to_snapshot, last_seq, after_seq, epoch
      from catalog.outbox_cursors cross join generate_series(1000, 2000) as i where n = 0`)
    const before = await looked('^outbox_cursors$')
    await write(1)
    expect(await publishOnce()).toBe(1)
    expect((await looked('^outbox_cursors$')) - before).toBeLessThan(100)
  })
})

describe('the log of a shard', () => {
  it('keeps its newest rows: each step removes what is past keeping, a purge what steps have missed', async () => {
    for (let i = 0; i < 60; i += 1) {
      await write(1)
      await publish()
    }
    const countRows = async () =>
      (await test.db.query(sql`select from catalog.outbox_cursors where shard = ${shard}::smallint`)).length
    expect(await countRows()).toBeLessThanOrEqual(53)
    await test.db.execute(
      sql`update catalog.outbox_cursors set n = n + 1000 where shard = ${shard}::smallint`,
    )
    await test.db.execute(sql`
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
      select ${shard}::smallint, i, '1:1:', '1:1:', 0, 0, 0 from generate_series(0, 500) as i`)
    await write(1)
    await publish()
    expect(await countRows()).toBeGreaterThan(500)
    await purgeRing(test.as('likewise_relay'), { retentionDays: 7, actor: 'test' })
    expect(await countRows()).toBeLessThanOrEqual(53)
  })
})
