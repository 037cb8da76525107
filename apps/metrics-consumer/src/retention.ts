import { type KafkaOptions, readTopicRetention, retentionWarning } from '@likewise/kafka'
import { type Logger, backoffMs, pause } from '@likewise/service'

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
