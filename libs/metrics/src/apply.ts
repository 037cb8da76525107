import { type Sql, type Tx, arrayOf, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { deltasOf } from './deltas.ts'

/**
 * Adds the events to the like counts and to the minutes they happened in. Counts are never clamped: see the migration.
 *
 * One statement, so that windows cost no round trip.
 */
export async function applyToProductMetrics(tx: Tx, events: readonly LikeEvent[]): Promise<void> {
  const deltas = deltasOf(events)
  await tx.execute(sql`
    with changed as materialized (
      select product_id, to_timestamp(minute * 60) as bucket_start, added, removed
      from unnest(${arrayOf(deltas.map((d) => d.productId))}::bigint[],
                  ${arrayOf(deltas.map((d) => d.minute))}::bigint[],
                  ${arrayOf(deltas.map((d) => d.added))}::bigint[],
                  ${arrayOf(deltas.map((d) => d.removed))}::bigint[])
        as delta(product_id, minute, added, removed)
    )${addChanged}
    select`)
}

/** The same as parts of a statement, for those of the events whose ids stand in its `fresh(event_id)`. */
export function applyWithin(events: readonly LikeEvent[]): Sql {
  const deltas = events.flatMap((event) => deltasOf([event]))
  return sql`, changed as materialized (
      select product_id, to_timestamp(minute * 60) as bucket_start, sum(added) as added, sum(removed) as removed
      from unnest(${arrayOf(events.map(({ id }) => id))}::uuid[],
                  ${arrayOf(deltas.map((d) => d.productId))}::bigint[],
                  ${arrayOf(deltas.map((d) => d.minute))}::bigint[],
                  ${arrayOf(deltas.map((d) => d.added))}::bigint[],
                  ${arrayOf(deltas.map((d) => d.removed))}::bigint[])
        as delta(event_id, product_id, minute, added, removed)
      join fresh using (event_id) group by product_id, minute
    )${addChanged}`
}

/**
 * Locks are taken in one order everywhere: minutes by (product, minute), then counts by product. PostgreSQL runs parts of a
 * statement that write in no certain order, so the second one waits for the first one's number.
 */
const addChanged = sql`, windowed as (
      insert into metrics.product_like_windows as w (product_id, bucket_start, added, removed)
      select product_id, bucket_start, added, removed from changed order by product_id, bucket_start
      on conflict (product_id, bucket_start) do update
        set added = w.added + excluded.added, removed = w.removed + excluded.removed
      returning 1
    ), counted as (
      insert into metrics.product_metrics as m (product_id, like_count, updated_at)
      select product_id, sum(added - removed), now() from changed
      where (select count(*) from windowed) > 0
      group by product_id order by product_id
      on conflict (product_id) do update
        set like_count = m.like_count + excluded.like_count, updated_at = excluded.updated_at
    )`
