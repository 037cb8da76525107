import { type ISocketFactory, Kafka, type SASLOptions, logLevel } from 'kafkajs'
import type { KafkaAccess, Logger } from '@likewise/service'

/** Where Kafka is and how to get in (KafkaConfig), and who asks. */
export interface KafkaOptions extends KafkaAccess {
  clientId: string
  log: Logger
  /** A request without an answer for so long counts as failed. */
  requestTimeoutMs: number
}

/** A handshake of TLS takes more round trips; a broker that has just started and is busy has taken more than 2 s for one. */
export const connectTimeoutMs = ({ tls }: KafkaAccess): number => (tls ? 5_000 : 2_000)

/** kafkajs, never retrying by itself: whoever calls decides, knows the attempt, and can be stopped. */
export function buildKafka(options: KafkaOptions, socketFactory?: ISocketFactory): Kafka {
  const { brokers, tls, sasl, clientId, log, requestTimeoutMs } = options
  return new Kafka({
    ...(socketFactory && { socketFactory }),
    brokers: [...brokers],
    ...(tls && { ssl: { ...tls } }),
    ...(sasl && { sasl: { ...sasl } as SASLOptions }),
    clientId,
    connectionTimeout: connectTimeoutMs(options),
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
