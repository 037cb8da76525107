import type { Database } from '@likewise/database'
import { topics } from '@likewise/events'
import { copyDeadLetters } from '@likewise/inbox'
import { type KafkaOptions, type Subscriber, buildPublisher } from '@likewise/kafka'
import type { Telemetry } from '@likewise/service'

/** A send without an answer for so long is tried again; below the longest orderly stop. */
const sendLimitMs = 5_000

interface CopyingOptions {
  db: Database
  consumer: string
  kafka: Omit<KafkaOptions, 'requestTimeoutMs'>
  subscriber: Pick<Subscriber, 'partitions'>
  telemetry: Telemetry
}

/** Where the inbox meets Kafka: copies of dead letters. Connects when there is something to copy. @returns stop. */
export function startCopying(options: CopyingOptions): () => Promise<void> {
  const { db, consumer, kafka, subscriber, telemetry } = options
  const publisher = buildPublisher({ ...kafka, requestTimeoutMs: sendLimitMs, sendLimitMs })
  const stopCopies = copyDeadLetters({
    db,
    consumer,
    topic: topics.catalogEvents,
    partitions: () => subscriber.partitions(),
    publish: (copies) => publisher.publish(copies.map((copy) => ({ topic: topics.deadLetters, ...copy }))),
    log: kafka.log,
    telemetry,
  })
  return async () => {
    await stopCopies()
    await publisher.stop()
  }
}
