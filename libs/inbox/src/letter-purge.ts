import { type Queryable, sql } from '@likewise/database'
import { type Logger, type Telemetry, repeat } from '@likewise/service'

/** The first offset that each partition of the topic still holds. */
export type LogStarts = readonly { readonly partition: number; readonly start: bigint }[]

interface LetterPurge {
  readonly consumer: string
  readonly topic: string
  /** Since they were redriven or discarded; not below what event_handled keeps, where a discard is remembered, too. */
  readonly keptDays: number
  /** Asked only where there is something to remove. */
  readonly readStarts: (stopping: AbortSignal) => Promise<LogStarts>
  readonly stopping?: AbortSignal
}

/** A record may be a megabyte. */
const removedAtOnceMax = 500

/**
 * Removes dead letters that were redriven or discarded long ago, and writes down how many. Only such as nobody asks for any
 * more: a replay and a rebuild ask for the letter of every record that the topic holds, and a rebuild that begins with a
 * snapshot for those that waited then. Nor before their copy is made. Any number of processes may do so at the same time.
 */
export async function purgeLetters(
  db: Queryable,
  { consumer, topic, keptDays, readStarts, stopping = new AbortController().signal }: LetterPurge,
): Promise<number> {
  // A redrive takes ten minutes at most, and `resolved_at` is of its beginning.
  const old = sql`d.consumer = ${consumer} and d.topic = ${topic} and d.copied_at is not null
    and d.resolved_at < now() - ${keptDays}::float8 * interval '1 day'
    and d.resolved_at < least(
      (select min(taken_at) from metrics.snapshots), (select min(letters_since) from metrics.rebuilds), 'infinity'
    ) - interval '15 minutes'`
  const [found] = await db.query<{ any: boolean }>(
    sql`select exists (select from metrics.dead_letters as d where ${old}) as any`,
  )
  if (found?.any !== true) return 0
  const starts = await readStarts(stopping)
  let removed = 0
  for (let more = true; more && !stopping.aborted;) {
    const [step] = await db.query<{ removed: number }>(sql`
      with gone as materialized (
        select d.id from metrics.dead_letters as d
        join unnest(${starts.map(({ partition }) => partition)}::int[], ${starts.map(({ start }) => start)}::bigint[])
          as log(place, first_offset) on d.partition = log.place and d.record_offset < log.first_offset
        where ${old} order by d.resolved_at limit ${removedAtOnceMax}::int for update of d skip locked
      ), removed as (
        delete from metrics.dead_letters as d using gone where d.id = gone.id returning d.id, d.resolved_at
      ), audited as (
        insert into metrics.inbox_audit (actor, action, consumer, detail)
        select 'retention', 'purge', ${consumer}, count(*) || ' dead letters that were redriven or discarded from '
          || min(resolved_at) || ' to ' || max(resolved_at) || ', with the numbers ' || min(id) || ' to ' || max(id)
        from removed having count(*) > 0
      )
      select count(*)::int as removed from removed`)
    removed += step?.removed ?? 0
    more = step?.removed === removedAtOnceMax
  }
  return removed
}

export interface LetterKeeperOptions extends Omit<LetterPurge, 'stopping'> {
  readonly db: Queryable
  readonly everyMs: number
  readonly log: Logger
  readonly telemetry: Telemetry
}

/** Does so now and then. @returns stop, which waits for the purge under way. */
export function keepLetters({
  db,
  everyMs,
  log,
  telemetry,
  ...purge
}: LetterKeeperOptions): () => Promise<void> {
  const letters = telemetry.counter(
    'likewise_inbox_purged_letters_total',
    'Dead letters removed, long after they were redriven or discarded.',
  )
  return repeat(
    async (stopping) => {
      const removed = await purgeLetters(db, { ...purge, stopping })
      letters.inc(removed)
      if (removed > 0) log.info({ removed, keptDays: purge.keptDays }, 'resolved dead letters purged')
    },
    { pauseMs: () => everyMs * (0.9 + Math.random() / 5), log, failed: 'resolved dead letters not purged' },
  )
}
