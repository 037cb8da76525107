import { Partitioners, type Producer } from 'kafkajs'
import { Failure, within } from '@likewise/service'
import { type KafkaOptions, buildKafka } from './client.ts'
import { kafkaFailure } from './failure.ts'

export interface OutgoingRecord {
  topic: string
  key: string | null
  value: string | Buffer | null
  headers: Record<string, string>
}

export interface Publisher {
  /**
   * Sends the records with acks=all, in order per key, and resolves when the broker has acknowledged all of them.
   * Rejects with BROKER_UNAVAILABLE (outage: some may have arrived) or EVENT_REFUSED, within `sendLimitMs`.
   */
  publish(records: readonly OutgoingRecord[]): Promise<void>
  /** Resolves when a broker answers; rejects with BROKER_UNAVAILABLE, within `sendLimitMs`. */
  ping(): Promise<void>
  stop(): Promise<void>
}

export interface PublisherOptions extends KafkaOptions {
  sendLimitMs: number
}

/**
 * A producer that connects when it is first used, and is replaced after a failure.
 *
 * Not an idempotent producer, on purpose: kafkajs gives the sequence numbers of a send that failed to the next one,
 * also where that carries other records (the shard was lost meanwhile, or regained); a broker that had stored the
 * first then takes the second for its duplicate and acknowledges what it never stores. Duplicates are harmless
 * here, a loss is not. Order needs no sequence numbers either: a shard has one send in flight.
 */
export function buildPublisher(options: PublisherOptions): Publisher {
  let connection: Promise<Producer> | null = null

  function connected(): Promise<Producer> {
    connection ??= (async () => {
      const producer = buildKafka(options).producer({
        createPartitioner: Partitioners.DefaultPartitioner,
        allowAutoTopicCreation: false,
        metadataMaxAge: 60_000,
      })
      try {
        await producer.connect()
      } catch (error) {
        void producer.disconnect().catch(() => undefined) // or its half-open socket stays
        throw error
      }
      return producer
    })()
    return connection
  }

  /** A client that failed once may be wedged; a new one costs milliseconds. */
  function drop(failed: Promise<Producer>): void {
    if (connection === failed) connection = null
    failed.then(
      (producer) => producer.disconnect().catch(() => undefined),
      () => undefined,
    )
  }

  /** kafkajs may wait longer than its own time-outs say (a queue of requests, a connection that never opens). */
  const inTime = <T>(work: Promise<T>): Promise<T> =>
    within(
      options.sendLimitMs,
      work,
      () => new Failure('BROKER_UNAVAILABLE', `Kafka has not answered within ${options.sendLimitMs} ms.`),
    )

  async function send(records: readonly OutgoingRecord[]): Promise<void> {
    const attempt = connected()
    try {
      await inTime(attempt.then((p) => p.sendBatch({ acks: -1, topicMessages: byTopic(records) })))
    } catch (error) {
      const failure = kafkaFailure(error)
      if (failure.retryable) drop(attempt)
      throw failure
    }
  }

  return {
    publish: send,
    async ping() {
      const admin = buildKafka(options).admin()
      try {
        await inTime(admin.connect().then(() => admin.describeCluster()))
      } catch (error) {
        throw kafkaFailure(error)
      } finally {
        // Not awaited: it waits for the answer that did not come, far past the limit.
        void admin.disconnect().catch(() => undefined)
      }
    },
    async stop() {
      const last = connection
      connection = null
      await last?.then((producer) => producer.disconnect()).catch(() => undefined)
    },
  }
}

function byTopic(records: readonly OutgoingRecord[]) {
  const topics = new Map<string, OutgoingRecord[]>()
  for (const record of records) {
    const list = topics.get(record.topic)
    if (list) list.push(record)
    else topics.set(record.topic, [record])
  }
  return [...topics].map(([topic, messages]) => ({ topic, messages }))
}
