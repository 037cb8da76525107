import type { Database } from '@likewise/database'
import { buildCountedThrough } from '@likewise/inbox'
import { type KafkaOptions, buildLogPositions } from '@likewise/kafka'
import { Failure, repeat } from '@likewise/service'

/** Notes again and again how far the counts have got. While Kafka is away nothing is known, so nothing is noted. @returns stop. */
export function keepCountedThrough(options: {
  db: Database
  consumer: string
  topic: string
  kafka: KafkaOptions
  everyMs: number
}): () => Promise<void> {
  const { db, consumer, topic, kafka, everyMs } = options
  const positions = buildLogPositions({ ...kafka, topic, groupId: consumer })
  const note = buildCountedThrough(db, { consumer, topic }, () => positions.read())
  let isAway = false
  const stopNotes = repeat(
    async () => {
      try {
        await note()
        isAway = false
      } catch (error) {
        const wasAway = isAway
        isAway = error instanceof Failure && error.retryable
        if (!wasAway || !isAway) throw error // else it has been told
      }
    },
    { pauseMs: () => everyMs, log: kafka.log, failed: 'how far the counts have got is not noted' },
  )
  return async () => {
    const stopped = stopNotes()
    await positions.stop()
    await stopped
  }
}
