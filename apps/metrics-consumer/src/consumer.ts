import type { Database } from '@likewise/database'
import { type BatchOutcome, type Horizon, handleBatch } from '@likewise/inbox'
import type { IncomingBatch } from '@likewise/kafka'
import { applyToProductMetrics } from '@likewise/metrics'
import type { Logger, Telemetry } from '@likewise/service'

export interface ConsumerOptions {
  db: Database
  consumer: string
  horizon: Horizon
  log: Logger
  telemetry: Telemetry
}

/** Handles batches of catalog events: the like counts, once per event. */
export function buildConsumer({ db, consumer, horizon, log, telemetry }: ConsumerOptions) {
  const results = telemetry.counter('likewise_inbox_records_total', 'Records by what became of them.', [
    'result',
  ])
  const seconds = telemetry.histogram(
    'likewise_inbox_batch_duration_seconds',
    'Time to handle a batch, commit included.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
  )
  // Of the oldest record, so that it bounds the others of its batch.
  const age = telemetry.histogram(
    'likewise_inbox_event_age_seconds',
    "From the broker's time of a record to the commit of its effect; one value per batch, of its oldest record.",
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200],
  )

  return async function onBatch({ topic, partition, records }: IncomingBatch): Promise<void> {
    const end = seconds.startTimer()
    const outcome = await handleBatch(db, {
      scope: { consumer, topic, partition },
      records,
      horizon,
      work: applyToProductMetrics,
    })
    end()
    const [oldest] = records
    if (oldest) age.observe(Math.max(0, Date.now() - oldest.timeMs) / 1000)
    count(outcome)
    for (const letter of outcome.parked) {
      log.warn({ ...letter, offset: String(letter.offset), topic, partition }, 'event parked')
    }
    log.debug({ partition, ...outcome, parked: outcome.parked.length }, 'batch handled')
  }

  function count(outcome: BatchOutcome): void {
    results.inc({ result: 'handled' }, outcome.handled)
    results.inc({ result: 'duplicate' }, outcome.duplicates)
    results.inc({ result: 'skipped' }, outcome.skipped)
    results.inc({ result: 'foreign' }, outcome.foreign)
    results.inc({ result: 'parked' }, outcome.parked.length)
  }
}
