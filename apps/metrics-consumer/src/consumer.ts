import type { Database } from '@likewise/database'
import { type Horizon, buildHandler } from '@likewise/inbox'
import type { IncomingBatch } from '@likewise/kafka'
import { applyToProductMetrics } from '@likewise/metrics'
import type { Logger, Telemetry } from '@likewise/service'

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
  return buildHandler({ ...options, work: applyToProductMetrics })
}
