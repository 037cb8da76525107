import { type Tx, arrayOf, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { deltasOf } from './deltas.ts'
import { foreseeShadow, lockModel, readDifferences } from './differences.ts'

/** How long the live model keeps minutes and hours: those of the roll-up. */
export interface Kept {
  readonly minutesKeptHours: number
  readonly hoursKeptDays: number
}

/**
 * The read model that a rebuild makes beside the live one. What is old goes into the hour or the day that the roll-up would
 * have brought it to, so nothing has to be rolled up; what grows old afterwards is the roll-up's, once it is live.
 */
export function buildShadow({ minutesKeptHours, hoursKeptDays }: Kept) {
  return {
    /** As applyToProductMetrics, for the rebuilt model. */
    async apply(tx: Tx, events: readonly LikeEvent[]): Promise<void> {
      const deltas = deltasOf(events)
      await tx.execute(sql`
        with changed as materialized (
          select product_id, to_timestamp(minute * 60) as bucket_start, added, removed,
                 minute * 60 >= extract(epoch from date_trunc('hour', now() - ${`${minutesKeptHours} hours`}::interval, 'UTC'))
                   as is_young,
                 minute * 60 >= extract(epoch from date_trunc('day', now() - ${`${hoursKeptDays} days`}::interval, 'UTC'))
                   as is_of_hours
          from unnest(${arrayOf(deltas.map((d) => d.productId))}::bigint[],
                      ${arrayOf(deltas.map((d) => d.minute))}::bigint[],
                      ${arrayOf(deltas.map((d) => d.added))}::bigint[],
                      ${arrayOf(deltas.map((d) => d.removed))}::bigint[])
            as delta(product_id, minute, added, removed)
        ), counted as (
          insert into metrics.rebuild_counts as m (product_id, like_count)
          select product_id, sum(added - removed) from changed group by product_id order by product_id
          on conflict (product_id) do update set like_count = m.like_count + excluded.like_count
        ), hours as (
          insert into metrics.rebuild_hours as w (product_id, bucket_start, added, removed)
          select product_id, date_trunc('hour', bucket_start, 'UTC'), sum(added), sum(removed) from changed
          where not is_young and is_of_hours group by 1, 2 order by 1, 2
          on conflict (product_id, bucket_start) do update
            set added = w.added + excluded.added, removed = w.removed + excluded.removed
        ), days as (
          insert into metrics.rebuild_days as w (product_id, bucket_start, added, removed)
          select product_id, date_trunc('day', bucket_start, 'UTC'), sum(added), sum(removed) from changed
          where not is_young and not is_of_hours group by 1, 2 order by 1, 2
          on conflict (product_id, bucket_start) do update
            set added = w.added + excluded.added, removed = w.removed + excluded.removed
        )
        insert into metrics.rebuild_minutes as w (product_id, bucket_start, added, removed)
        select product_id, bucket_start, added, removed from changed where is_young order by product_id, bucket_start
        on conflict (product_id, bucket_start) do update
          set added = w.added + excluded.added, removed = w.removed + excluded.removed`)
    },

    async clear(tx: Tx): Promise<void> {
      await tx.execute(sql`
        truncate metrics.rebuild_counts, metrics.rebuild_minutes, metrics.rebuild_hours, metrics.rebuild_days`)
    },

    async load(tx: Tx, snapshotId: bigint): Promise<void> {
      await tx.execute(sql`
        insert into metrics.rebuild_counts (product_id, like_count)
        select unnest(product_ids), unnest(like_counts) from metrics.snapshot_counts where snapshot_id = ${snapshotId}`)
      const bucketsOf = (resolution: string) => sql`
        select unnest(product_ids), unnest(bucket_starts), unnest(added), unnest(removed) from metrics.snapshot_buckets
        where snapshot_id = ${snapshotId} and resolution = ${resolution}`
      await tx.execute(sql`insert into metrics.rebuild_minutes ${bucketsOf('minute')}`)
      await tx.execute(sql`insert into metrics.rebuild_hours ${bucketsOf('hour')}`)
      await tx.execute(sql`insert into metrics.rebuild_days ${bucketsOf('day')}`)
    },

    compare: readDifferences,
    lock: lockModel,
    foresee: foreseeShadow,
  }
}
