import { type Tx, arrayOf, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { deltasOf } from './deltas.ts'

/**
 * Adds the events to the like counts and to the minutes they happened in. Counts are never clamped: see the migration.
 *
 * One statement, so that windows cost no round trip. PostgreSQL runs a data-modifying CTE that nothing reads after the
 * main insert, so locks are taken in one order everywhere: minutes by (product, minute), then counts by product.
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
    ), counted as (
      insert into metrics.product_metrics as m (product_id, like_count, updated_at)
      select product_id, sum(added - removed), now() from changed group by product_id order by product_id
      on conflict (product_id) do update
        set like_count = m.like_count + excluded.like_count, updated_at = excluded.updated_at
    )
    insert into metrics.product_like_windows as w (product_id, bucket_start, added, removed)
    select product_id, bucket_start, added, removed from changed order by product_id, bucket_start
    on conflict (product_id, bucket_start) do update
      set added = w.added + excluded.added, removed = w.removed + excluded.removed`)
}
