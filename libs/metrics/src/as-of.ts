import { type Queryable, sql } from '@likewise/database'
import { type Resolution, floorTo, isoOf } from './resolution.ts'

export interface LikeCountAsOf {
  productId: number
  /** Of the events that happened before `asOf`, as they are known now: one that comes late is in it from then on. */
  likeCount: number
  /** The moment asked for, or the nearest edge before it at which the count is known exactly. */
  asOf: string
  /** What the moment was rounded down to. */
  resolution: Resolution
}

/**
 * The like count as of a moment: today's count without what happened since. So what was counted before there were
 * windows is in it at every moment.
 *
 * Where this product's minutes have moved on to an hour (or a day) that the moment lies in, only that one's beginning is
 * known exactly. One statement, so that neither a batch nor a roll-up can come between.
 * @returns 'future' if the moment is ahead of the database's clock.
 */
export async function readLikeCountAsOf(
  db: Queryable,
  productId: number,
  momentMs: number,
): Promise<LikeCountAsOf | 'future'> {
  const [row] = await db.query<{
    likeCount: bigint
    edge: bigint
    resolution: Resolution
    isFuture: boolean
  }>(sql`
    with asked as (
      select to_timestamp(${floorTo(momentMs / 1_000, 60)}::bigint) as minute
    ), edges as (
      select minute, date_trunc('hour', minute, 'UTC') as hour, date_trunc('day', minute, 'UTC') as day from asked
    ), edge as (
      select case resolution when 'day' then day when 'hour' then hour else minute end as at, resolution
      from edges cross join lateral (
        select case
          when day < minute and exists (
            select from metrics.product_like_days where product_id = ${productId} and bucket_start = day) then 'day'
          when hour < minute and exists (
            select from metrics.product_like_hours where product_id = ${productId} and bucket_start = hour) then 'hour'
          else 'minute' end as resolution
      ) as finest
    ), since as (
      select added - removed as net from metrics.product_like_windows, edge
      where product_id = ${productId} and bucket_start >= at
      union all
      select added - removed from metrics.product_like_hours, edge
      where product_id = ${productId} and bucket_start >= at
      union all
      select added - removed from metrics.product_like_days, edge
      where product_id = ${productId} and bucket_start >= at
    )
    select (coalesce((select like_count from metrics.product_metrics where product_id = ${productId}), 0)
             - coalesce((select sum(net) from since), 0))::bigint as "likeCount",
           extract(epoch from at)::bigint as edge, resolution,
           to_timestamp(${momentMs}::float8 / 1000) > now() as "isFuture"
    from edge`)
  if (!row) throw new Error('A statement over one row of constants gave none.')
  if (row.isFuture) return 'future'
  return {
    productId,
    likeCount: Number(row.likeCount),
    asOf: isoOf(Number(row.edge)),
    resolution: row.resolution,
  }
}
