import type { TopicRetention } from './topics.ts'

const dayMs = 86_400_000

/** What, why, and how to mend it; null where all is well. Pure. */
export function retentionWarning(
  topic: string,
  { retentionMs, cleanupPolicy }: TopicRetention,
  horizonDays: number,
): string | null {
  const compacts = cleanupPolicy !== 'delete'
  if (!compacts && retentionMs <= horizonDays * dayMs) return null
  const keeps = compacts
    ? `has cleanup.policy=${cleanupPolicy}`
    : retentionMs === Infinity
      ? 'keeps records for ever'
      : `keeps records for ${(retentionMs / dayMs).toFixed(1)} days`
  const why = compacts
    ? 'compaction keeps the last record of a key for ever and removes others, which were likes too'
    : `events older than the dedup horizon of ${String(horizonDays)} days cannot be told from their duplicates, and are parked as too_old`
  const mend = compacts
    ? 'set cleanup.policy=delete'
    : `set retention.ms to at most ${String(horizonDays * dayMs)}`
  const orHorizon =
    !compacts && horizonDays < 30 ? ', or raise CONSUMER_DEDUP_HORIZON_DAYS (to at most 30)' : ''
  return `Topic ${topic} ${keeps}: ${why}. To mend it ${mend}${orHorizon}.`
}
