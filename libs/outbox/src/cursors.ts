import { type Sql, sql } from '@likewise/database'
import { shardCount } from '@likewise/events'

export const allShards = Array.from({ length: shardCount }, (_, shard) => shard)

/** The log of a shard is kept this long: enough to see what happened last, few enough rows that reading stays flat. */
export const cursorsKept = 50n

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
