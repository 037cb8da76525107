import type { Telemetry } from '@likewise/service'

export type WriterTelemetry = ReturnType<typeof writerTelemetry>

export const writerTelemetry = (telemetry: Telemetry) => ({
  waiting: telemetry.gauge('likewise_writes_waiting', 'Likes and unlikes that wait for a batch.'),
  batchSize: telemetry.histogram(
    'likewise_writes_batch_size',
    'Likes and unlikes in a batch.',
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
  ),
  duration: telemetry.histogram(
    'likewise_writes_duration_seconds',
    'Time of one statement, also of those that failed.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
  ),
  setAside: telemetry.counter(
    'likewise_writes_set_aside_total',
    'Likes and unlikes that waited alone, for a lock of somebody else.',
  ),
  refused: telemetry.counter(
    'likewise_writes_refused_total',
    'Likes and unlikes answered 503 without an outcome: too many waited, begun too late, outcome unknown.',
    ['reason'],
  ),
})
