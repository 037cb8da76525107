import type { Database } from '@likewise/database'
import { topics } from '@likewise/events'
import { type Horizon, buildHandler } from '@likewise/inbox'
import { type IncomingBatch, type KafkaOptions, type Subscriber, subscribe } from '@likewise/kafka'
import { applyToProductMetrics, applyWithin } from '@likewise/metrics'
import type { Logger, Telemetry } from '@likewise/service'
import type { Static } from 'typebox'
import type { ConsumerConfig } from './config.ts'

const dayMs = 86_400_000
// All that a fetch brings: the handler puts small batches into one transaction, and lets the large ones wait their turn.
const partitionsAtOnceMax = 64

export interface ConsumerOptions {
  db: Database
  consumer: string
  horizon: Horizon
  transactionsAtOnceMax: number
  log: Logger
  telemetry: Telemetry
}

/** Handles batches of catalog events: the like counts, once per event. */
export function buildConsumer(
  options: ConsumerOptions,
): (batch: IncomingBatch) => Promise<bigint | undefined> {
  return buildHandler({ ...options, work: applyToProductMetrics, workWithin: applyWithin })
}

interface ConsumingOptions extends Pick<ConsumerOptions, 'db' | 'log' | 'telemetry'> {
  config: Static<typeof ConsumerConfig>
  kafka: KafkaOptions
  fail: (error: unknown) => void
}

/** Where the inbox meets Kafka: reads catalog-events as a member of the group, from its beginning to its end and on. */
export function startConsuming({ config, db, kafka, log, telemetry, fail }: ConsumingOptions): Subscriber {
  const onBatch = buildConsumer({
    db,
    consumer: config.CONSUMER_GROUP,
    horizon: { dedupHorizonMs: config.CONSUMER_DEDUP_HORIZON_DAYS * dayMs, futureMaxMs: dayMs },
    transactionsAtOnceMax: config.CONSUMER_PARTITIONS_AT_ONCE,
    log,
    telemetry,
  })
  return subscribe({
    ...kafka,
    groupId: config.CONSUMER_GROUP,
    topic: topics.catalogEvents,
    partitionsAtOnceMax,
    onBatch,
    watchdogMs: config.CONSUMER_WATCHDOG_MS,
    telemetry,
    fail,
  })
}
