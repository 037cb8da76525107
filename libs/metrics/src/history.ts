import { type Queryable, sql } from '@likewise/database'
import { type Resolution, type Step, ceilTo, floorTo, isoOf, stepOf, steps } from './resolution.ts'

export interface HistoryPoint {
  start: string
  added: number
  removed: number
  /** At the end of the step. */
  likeCount: number
}

export interface History {
  productId: number
  from: string
  to: string
  /** As asked, or longer where the data is only there in hours or days: all points of an answer are as long. */
  step: Step
  /** The coarsest buckets the points were made of. */
  resolution: Resolution
  points: HistoryPoint[]
}

export interface HistoryQuestion {
  readonly productId: number
  readonly fromMs: number
  readonly toMs: number
  readonly step: Step
}

/** A day of minutes, and some. */
export const pointsMax = 1_500

/** How many points the question is about, before data that is only there in longer buckets makes them fewer. */
export function pointsOf({ fromMs, toMs, step }: HistoryQuestion): number {
  return (ceilTo(toMs / 1_000, steps[step]) - floorTo(fromMs / 1_000, steps[step])) / steps[step]
}

/** What of a product happened in steps of event time, edges rounded outward. One statement: a batch is in it or not. */
export async function readHistory(db: Queryable, question: HistoryQuestion): Promise<History> {
  const { productId, step } = question
  const asked = steps[step]
  const [from, to] = [floorTo(question.fromMs / 1_000, asked), ceilTo(question.toMs / 1_000, asked)]
  const [row] = await db.query<{
    resolution: number
    step: number
    likeCount: bigint
    sums: [start: number, added: number, removed: number][] | null
  }>(sql`
    with found as (
      select case
        when exists (
          select from metrics.product_like_days where product_id = ${productId}
            and bucket_start > to_timestamp(${from - steps['1d']}::bigint) and bucket_start < to_timestamp(${to}::bigint)
        ) then ${steps['1d']}::int
        when exists (
          select from metrics.product_like_hours where product_id = ${productId}
            and bucket_start > to_timestamp(${from - steps['1h']}::bigint) and bucket_start < to_timestamp(${to}::bigint)
        ) then ${steps['1h']}::int
        else ${steps['1m']}::int end as resolution
    ), chosen as (
      select resolution, greatest(resolution, ${asked}::int) as step from found
    ), edge as (
      -- a step is a whole number of resolutions or one of them, so the wider edges cut no bucket
      select resolution, step, to_timestamp(floor(${from}::float8 / step) * step) as since from chosen
    ), buckets as (
      select bucket_start, added, removed from metrics.product_like_windows, edge
      where product_id = ${productId} and bucket_start >= since
      union all
      select bucket_start, added, removed from metrics.product_like_hours, edge
      where product_id = ${productId} and bucket_start >= since
      union all
      select bucket_start, added, removed from metrics.product_like_days, edge
      where product_id = ${productId} and bucket_start >= since
    ), summed as (
      select floor(extract(epoch from bucket_start) / step)::bigint * step as start, sum(added) as added,
             sum(removed) as removed
      from buckets cross join chosen group by 1
    )
    select resolution, step,
           (coalesce((select like_count from metrics.product_metrics where product_id = ${productId}), 0)
             - coalesce((select sum(added - removed) from summed), 0))::bigint as "likeCount",
           (select json_agg(json_build_array(start, added, removed)) from summed
            where start < ceil(${to}::float8 / step) * step) as sums
    from chosen`)
  if (!row) throw new Error('A statement over one row of constants gave none.')
  const seconds = row.step
  const range = { from: floorTo(from, seconds), to: ceilTo(to, seconds), step: seconds }
  return {
    productId,
    from: isoOf(range.from),
    to: isoOf(range.to),
    step: stepOf(seconds),
    resolution: row.resolution === 60 ? 'minute' : row.resolution === 3_600 ? 'hour' : 'day',
    points: pointsFrom(range, Number(row.likeCount), row.sums ?? []),
  }
}

/** A point for every step, zeros where nothing happened. Pure. */
export function pointsFrom(
  range: { readonly from: number; readonly to: number; readonly step: number },
  likeCountBefore: number,
  sums: readonly (readonly [start: number, added: number, removed: number])[],
): HistoryPoint[] {
  const known = new Map(sums.map(([start, added, removed]) => [start, { added, removed }]))
  const points: HistoryPoint[] = []
  let likeCount = likeCountBefore
  for (let start = range.from; start < range.to; start += range.step) {
    const { added, removed } = known.get(start) ?? { added: 0, removed: 0 }
    likeCount += added - removed
    points.push({ start: isoOf(start), added, removed, likeCount })
  }
  return points
}
