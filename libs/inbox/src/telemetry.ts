import type { Telemetry } from '@likewise/service'
import type { BatchOutcome } from './piece.ts'

export function inboxTelemetry(telemetry: Telemetry) {
  const results = telemetry.counter('likewise_inbox_records_total', 'Records by what became of them.', [
    'result',
  ])
  return {
    seconds: telemetry.histogram(
      'likewise_inbox_batch_duration_seconds',
      'Time to handle a batch, commit included.',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    ),
    // Of the oldest record, so that it bounds the others of its batch.
    age: telemetry.histogram(
      'likewise_inbox_event_age_seconds',
      "From the broker's time of a record to the commit of its effect; one value per batch, of its oldest record.",
      [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200],
    ),
    logsReplaced: telemetry.counter(
      'likewise_inbox_log_resets_total',
      'Partitions whose log was made again or lost its end, and is read from its beginning.',
    ),
    missing: telemetry.counter(
      'likewise_inbox_missing_records_total',
      'Records that the broker removed before they were read, at most.',
    ),
    suspects: telemetry.counter(
      'likewise_inbox_records_alone_total',
      'Records handled one by one, since a process ended while it had them in hand.',
    ),
    count(outcome: BatchOutcome): void {
      results.inc({ result: 'handled' }, outcome.handled)
      results.inc({ result: 'duplicate' }, outcome.duplicates)
      results.inc({ result: 'skipped' }, outcome.skipped)
      results.inc({ result: 'foreign' }, outcome.foreign)
      results.inc({ result: 'parked' }, outcome.parked.length)
    },
  }
}
