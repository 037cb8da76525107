import type { Database } from '@likewise/database'
import { readLetterBacklog } from '@likewise/inbox'
import { type Logger, type Telemetry, repeat } from '@likewise/service'

// Counting costs as much as there are letters: at most a tenth of the time is spent on it.
const everyMs = 10_000
const pauseFactor = 10

/**
 * Keeps the gauges of dead letters fresh. Every consumer tells all of the group's: take the maximum over them. They are
 * NaN while they cannot be counted.
 *
 * @returns stop; a count under way is left to the end of the database connection.
 */
export function watchDeadLetters(
  db: Database,
  consumer: string,
  { telemetry, log }: { telemetry: Telemetry; log: Logger },
): () => void {
  const letters = telemetry.gauge(
    'likewise_inbox_dead_letters',
    'Dead letters that wait for a redrive or a discard, by reason.',
    ['reason'],
  )
  const keys = telemetry.gauge(
    'likewise_inbox_parked_keys',
    'Keys whose later events wait behind a dead letter.',
  )
  const uncopied = telemetry.gauge(
    'likewise_inbox_uncopied_dead_letters',
    'Dead letters that are not yet on the dead-letter topic.',
  )
  const age = telemetry.gauge(
    'likewise_inbox_oldest_uncopied_age_seconds',
    'Age of the oldest dead letter that is not yet on the dead-letter topic.',
  )

  async function count(): Promise<void> {
    const backlog = await readLetterBacklog(db, consumer)
    letters.reset()
    for (const [reason, n] of Object.entries(backlog.byReason)) letters.set({ reason }, n)
    keys.set(backlog.keys)
    uncopied.set(backlog.uncopied)
    age.set((backlog.oldestUncopiedAgeMs ?? 0) / 1000)
  }

  const stop = repeat(
    () =>
      count().catch((error: unknown) => {
        letters.reset()
        for (const gauge of [keys, uncopied, age]) gauge.set(NaN)
        throw error
      }),
    { pauseMs: (tookMs) => Math.max(everyMs, pauseFactor * tookMs), log, failed: 'dead letters not counted' },
  )
  return () => void stop()
}
