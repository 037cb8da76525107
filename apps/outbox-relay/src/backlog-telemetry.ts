import type { Database } from '@likewise/database'
import { countParked, readBacklog } from '@likewise/outbox'
import { type Logger, type Telemetry, repeat } from '@likewise/service'

// Counting a backlog costs as much as the backlog is long: at most a tenth of the time is spent on it.
const everyMs = 10_000
const pauseFactor = 10

/**
 * Keeps the gauges of what waits fresh: backlog and parked. Every relay tells the whole outbox; take the maximum over relays. A gauge is NaN
 * while it cannot be counted.
 *
 * @returns stop; a count under way is left to the end of the database connection.
 */
export function watchBacklog(db: Database, telemetry: Telemetry, log: Logger): () => void {
  const rows = telemetry.gauge(
    'likewise_outbox_backlog_rows',
    'Events that are committed but not yet published.',
  )
  const age = telemetry.gauge(
    'likewise_outbox_oldest_pending_age_seconds',
    'Age of the oldest event not yet published.',
  )
  const parkedKeys = telemetry.gauge(
    'likewise_outbox_parked_keys',
    'Keys with a refused event, whose later events wait behind it until somebody redrives or discards it.',
  )
  const parkedEvents = telemetry.gauge('likewise_outbox_parked_events', 'Events that are parked now.')

  async function count(): Promise<void> {
    const shards = await readBacklog(db)
    rows.set(shards.reduce((sum, shard) => sum + Number(shard.pending), 0))
    age.set(Math.max(0, ...shards.map((shard) => shard.oldestAgeMs ?? 0)) / 1000)
    const parked = await countParked(db)
    parkedKeys.set(Number(parked.keys))
    parkedEvents.set(Number(parked.events))
  }

  const stop = repeat(
    () =>
      count().catch((error: unknown) => {
        for (const gauge of [rows, age, parkedKeys, parkedEvents]) gauge.set(NaN)
        throw error
      }),
    { pauseMs: (tookMs) => Math.max(everyMs, pauseFactor * tookMs), log, failed: 'backlog not counted' },
  )
  return () => void stop()
}
