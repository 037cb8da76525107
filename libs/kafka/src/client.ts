import { type ISocketFactory, Kafka, logLevel } from 'kafkajs'
import type { Logger } from '@likewise/service'

export interface KafkaOptions {
  brokers: readonly string[]
  clientId: string
  log: Logger
  /** A request without an answer for so long counts as failed. */
  requestTimeoutMs: number
}

/** kafkajs, never retrying by itself: whoever calls decides, knows the attempt, and can be stopped. */
export function buildKafka(options: KafkaOptions, socketFactory?: ISocketFactory): Kafka {
  const { brokers, clientId, log, requestTimeoutMs } = options
  return new Kafka({
    ...(socketFactory && { socketFactory }),
    brokers: [...brokers],
    clientId,
    connectionTimeout: 2_000,
    requestTimeout: requestTimeoutMs,
    retry: { retries: 0, initialRetryTime: 100, maxRetryTime: 1_000 },
    logLevel: logLevel.WARN,
    // Its own words at debug only: every failure it tells about also reaches us as an error or an event.
    logCreator: () => (entry) => {
      const { message, ...facts } = entry.log
      log.debug({ kafkajs: { ...facts, namespace: entry.namespace } }, message)
    },
  })
}
