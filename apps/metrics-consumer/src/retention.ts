import { type KafkaOptions, type TopicRetention, readTopicRetention } from '@likewise/kafka'
import { type Logger, backoffMs, pause } from '@likewise/service'

const dayMs = 86_400_000
const backoff = { baseMs: 500, capMs: 60_000, random: Math.random }

export interface RetentionOptions {
  kafka: KafkaOptions
  topic: string
  horizonDays: number
  log: Logger
}

/**
 * Warns once where the topic may keep records beyond the dedup horizon: a consumer that reads it from its beginning would
 * park them. A broker that is away only delays the warning. @returns stop
 */
export function checkRetention({ kafka, topic, horizonDays, log }: RetentionOptions): () => Promise<void> {
  const stopping = new AbortController()
  async function check(): Promise<void> {
    for (let attempt = 1; !stopping.signal.aborted; attempt += 1) {
      try {
        const retention = await readTopicRetention(kafka, topic, stopping.signal)
        const warning = retentionWarning(topic, retention, horizonDays)
        if (warning !== null) log.warn({ topic, ...retention, horizonDays }, warning)
        return
      } catch (error) {
        log.debug({ err: error, attempt }, 'the topic cannot be asked for its retention')
        await pause(backoffMs({ attempt, ...backoff }), stopping.signal)
      }
    }
  }
  const checking = check()
  return () => {
    stopping.abort()
    return checking
  }
}

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
