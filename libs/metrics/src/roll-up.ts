import { type Queryable, raw, sql } from '@likewise/database'
import { type Logger, type Telemetry, pause, repeat } from '@likewise/service'

/** Minutes stay so long at least: trending over 24 hours reads nothing but minutes. */
export const minutesKeptHoursMin = 25

/** Rows of one statement: tens of milliseconds, far from any statement timeout, and a lock nobody waits for long. */
const chunkRows = 5_000

export interface RollUpOptions {
  /** Minutes older than so many hours become hours. At least minutesKeptHoursMin. */
  minutesKeptHours: number
  /** Hours older than so many days become days. */
  hoursKeptDays: number
  stopping?: AbortSignal
}

/** Rows that moved: minutes to hours, hours to days. */
export interface RolledUp {
  minutes: number
  hours: number
}

/**
 * Moves old minutes to their hours and old hours to their days, a chunk at a time and as long a pause after each, so
 * that it takes half of one connection at most.
 *
 * A chunk is one statement: rows go and are added in the same commit, so no reader misses or doubles one. What comes late
 * makes its minute again and moves with the next run. Several at once are harmless: rows that another one holds are left
 * to it, and sums are added in (product, bucket) order. It waits for nobody who could wait for it: the consumer waits for
 * minutes only, a chunk for rows of the longer buckets only.
 */
export async function rollUp(db: Queryable, options: RollUpOptions): Promise<RolledUp> {
  const { minutesKeptHours, hoursKeptDays, stopping = new AbortController().signal } = options
  if (minutesKeptHours < minutesKeptHoursMin) {
    throw new RangeError(`Minutes are kept for ${String(minutesKeptHoursMin)} hours at least.`)
  }
  const minutes = await moveAll(
    db,
    {
      from: 'product_like_windows',
      to: 'product_like_hours',
      unit: 'hour',
      kept: `${minutesKeptHours} hours`,
    },
    stopping,
  )
  const hours = await moveAll(
    db,
    { from: 'product_like_hours', to: 'product_like_days', unit: 'day', kept: `${hoursKeptDays} days` },
    stopping,
  )
  return { minutes, hours }
}

interface Move {
  from: string
  to: string
  unit: 'hour' | 'day'
  kept: string
}

async function moveAll(db: Queryable, move: Move, stopping: AbortSignal): Promise<number> {
  let moved = 0
  // Each chunk looks on where the last one ended, not over the entries that it has just emptied.
  let after = '-infinity'
  while (!stopping.aborted) {
    const begunMs = performance.now()
    const chunk = await moveChunk(db, move, after)
    moved += chunk.rows
    if (chunk.rows < chunkRows) break
    after = chunk.last
    await pause(performance.now() - begunMs, stopping)
  }
  return moved
}

/** Whole hours (days) at a time, so that what has moved is an hour (a day) and no part of one, but for the latecomers. */
async function moveChunk(
  db: Queryable,
  { from, to, unit, kept }: Move,
  after: string,
): Promise<{ rows: number; last: string }> {
  const [chunk] = await db.query<{ rows: number; last: string | null }>(sql`
    with old as materialized (
      select product_id, bucket_start from metrics.${raw(from)}
      where bucket_start >= ${after}::timestamptz
        and bucket_start < date_trunc(${unit}, now() - ${kept}::interval, 'UTC')
      order by bucket_start limit ${raw(String(chunkRows))} for update skip locked
    ), gone as (
      delete from metrics.${raw(from)} as gone using old
      where gone.product_id = old.product_id and gone.bucket_start = old.bucket_start
      returning gone.product_id, gone.bucket_start, gone.added, gone.removed
    ), added as (
      insert into metrics.${raw(to)} as t (product_id, bucket_start, added, removed)
      select product_id, date_trunc(${unit}, bucket_start, 'UTC'), sum(added), sum(removed)
      from gone group by 1, 2 order by 1, 2
      on conflict (product_id, bucket_start) do update
        set added = t.added + excluded.added, removed = t.removed + excluded.removed
    )
    select count(*)::int as rows, max(bucket_start)::text as last from gone`)
  return { rows: chunk?.rows ?? 0, last: chunk?.last ?? after }
}

export interface RollUpKeeperOptions extends Omit<RollUpOptions, 'stopping'> {
  db: Queryable
  everyMs: number
  log: Logger
  telemetry: Telemetry
}

/** Rolls up now and then, in any number of processes. @returns stop, which waits for the chunk in hand. */
export function keepRolledUp({ db, everyMs, log, telemetry, ...kept }: RollUpKeeperOptions) {
  const moved = telemetry.counter(
    'likewise_metrics_rolled_up_rows_total',
    'Buckets that moved on to longer ones, by what they were.',
    ['resolution'],
  )
  return repeat(
    async (stopping) => {
      const begunMs = performance.now()
      const { minutes, hours } = await rollUp(db, { ...kept, stopping })
      moved.inc({ resolution: 'minute' }, minutes)
      moved.inc({ resolution: 'hour' }, hours)
      if (minutes + hours === 0) return
      log.info({ minutes, hours, durationMs: Math.round(performance.now() - begunMs) }, 'windows rolled up')
    },
    { pauseMs: () => everyMs * (0.9 + Math.random() / 5), log, failed: 'windows not rolled up' },
  )
}
