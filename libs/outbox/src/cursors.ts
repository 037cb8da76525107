import { sql } from '@likewise/database'

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
