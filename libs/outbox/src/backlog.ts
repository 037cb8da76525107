import { type Queryable, sql } from '@likewise/database'
import { freshRows, lateRows, newestCursors } from './cursors.ts'
import { isAlive } from './lease.ts'

export interface ShardBacklog {
  shard: number
  pending: bigint
  /** The cursor: window `window` is published up to seq `afterSeq`, and ends at `lastSeq`. */
  window: bigint
  afterSeq: bigint
  lastSeq: bigint
  /** Age of the oldest event that is not published, by the database's clock; null without one. */
  oldestAgeMs: number | null
  attempts: number
  lastError: string | null
  owner: string | null
  epoch: bigint
}

/** What waits in the outbox, per shard. Costs as much as there is to count: seconds for millions of rows. */
export async function readBacklog(db: Queryable): Promise<ShardBacklog[]> {
  return db.query<ShardBacklog>(sql`
    select lease.shard::int as shard, waiting.pending, cursor.n as "window", cursor.after_seq as "afterSeq",
           cursor.last_seq as "lastSeq", cursor.attempts, cursor.last_error as "lastError",
           (extract(epoch from clock_timestamp() - waiting.oldest) * 1000)::float8 as "oldestAgeMs",
           relay.owner::text as owner, lease.epoch
    from catalog.outbox_leases as lease
    join ${newestCursors} as cursor on cursor.shard = lease.shard
    left join catalog.outbox_relays as relay on relay.owner = lease.owner and ${isAlive(sql`relay`)}
    cross join lateral (
      select count(*) as pending, min(created_at) as oldest
      from (
        select seq, xid, created_at
        from ${freshRows(sql`lease.shard`, { from: sql`cursor.published_snapshot`, to: sql`pg_current_snapshot()` })} as rows
        union all
        select seq, xid, created_at from ${lateRows(sql`lease.shard`, sql`cursor.published_snapshot`)} as rows
      ) as since
      where not (seq <= cursor.after_seq and pg_visible_in_snapshot(xid, cursor.to_snapshot))
    ) as waiting
    order by shard`)
}
