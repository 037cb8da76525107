import { type Queryable, type Sql, sql } from '@likewise/database'
import { shardCount } from '@likewise/events'

export const allShards = Array.from({ length: shardCount }, (_, shard) => shard)

// So many rows of a shard's log stay: enough to see what happened last, few enough that reading is flat.
const cursorsKept = 50n

/**
 * Whether a row of a shard's log may go when its newest is `n`. It has fifty steps in which to go: below them lies, while
 * an old snapshot is held, all that went before, still in the index, and to look through the dead rows of ten minutes cost each
 * step 4 ms. What is missed goes with the next purge.
 */
export const isPastKeeping = (old: Sql, n: Sql): Sql =>
  sql`${old} >= ${n} - ${2n * cursorsKept} and ${old} < ${n} - ${cursorsKept}`

/** Removes what the steps have missed. */
export async function trimCursors(db: Queryable): Promise<void> {
  await db.execute(sql`
    delete from catalog.outbox_cursors as old using ${newestCursors} as newest
    where old.shard = newest.shard and old.n < newest.n - ${cursorsKept}`)
}

/**
 * The newest cursor of each shard, for a `from` clause; 12 looks into an index. `published_snapshot`: every row visible in
 * it is published, since all of a finished window is. Of an unfinished one what lies up to after_seq is published, too.
 */
export const newestCursors = sql`(
    select newest.*,
           case when newest.after_seq >= newest.last_seq then newest.to_snapshot else newest.from_snapshot end
             as published_snapshot
    from catalog.outbox_leases as each_shard
    cross join lateral (
      select * from catalog.outbox_cursors as c where c.shard = each_shard.shard order by c.n desc limit 1
    ) as newest
  )`

/** The newest cursors of shards that `owner` holds by these leases, with `holder` and `held_epoch` for the next one. */
export const heldCursors = (owner: string, leases: readonly { shard: number; epoch: bigint }[]): Sql => sql`(
    select newest.*, lease.owner as holder, lease.epoch as held_epoch
    from unnest(${leases.map((l) => l.shard)}::smallint[], ${leases.map((l) => l.epoch)}::bigint[])
      as held(shard, epoch)
    join catalog.outbox_leases as lease
      on lease.shard = held.shard and lease.epoch = held.epoch and lease.owner = ${owner}::uuid
    cross join lateral (
      select * from catalog.outbox_cursors as c where c.shard = held.shard order by c.n desc limit 1
    ) as newest
  )`

/**
 * The rows of a shard that were written by transactions which were open at `snapshot`, by xid wherever they lie, for a
 * `from` clause.
 *
 * Written so that the planner takes the index whatever its statistics say: after an import in one transaction they say
 * that any xid is that of the import, and `xid = …` read the whole table with every idle poll. Of a range without known ends
 * it expects little; and nothing is read at all where no transaction was open.
 */
export const lateRows = (shard: Sql, snapshot: Sql): Sql => sql`(
    select late.* from pg_snapshot_xip(${snapshot}) as open(xid) cross join lateral (
      select * from catalog.outbox_events as e
      where e.shard = ${shard} and e.xid >= open.xid and e.xid <= open.xid offset 0
    ) as late
  )`

/**
 * The rows of a shard that were written by transactions which began after `from`, and before `to`, by xid, for a `from`
 * clause. (What a statement sees began before its own snapshot's end.)
 *
 * Written so that the planner takes the index on xid also where it believes the table empty, as it does of a fresh one, and
 * of a part of the ring that was just truncated: the primary key then costs it the same but for the last digit, and a plan
 * is kept for minutes, in which each poll reads all of the shard. Two bounds, known before the scan, win that digit.
 */
export const freshRows = (shard: Sql, { from, to }: { from: Sql; to: Sql }): Sql => sql`(
    select fresh.* from (
      select pg_snapshot_xmax(${from}) as low, pg_snapshot_xmax(${to}) as high offset 0
    ) as bound cross join lateral (
      select * from catalog.outbox_events as e
      where e.shard = ${shard} and e.xid >= bound.low and e.xid < bound.high offset 0
    ) as fresh
  )`
