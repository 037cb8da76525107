import type { Telemetry } from '@likewise/service'

export type RelayTelemetry = ReturnType<typeof relayTelemetry>

export function relayTelemetry(telemetry: Telemetry) {
  return {
    published: telemetry.counter('likewise_outbox_published_total', 'Events acknowledged by the broker.'),
    publishFailures: telemetry.counter(
      'likewise_outbox_publish_failures_total',
      'Sends that failed, by the code of the failure.',
      ['reason'],
    ),
    publishSeconds: telemetry.histogram(
      'likewise_outbox_publish_duration_seconds',
      'Time from sending a page to its acknowledgement.',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    ),
    parked: telemetry.counter(
      'likewise_outbox_parked_total',
      'Events parked: refused by the broker, or behind a refused event of their key.',
      ['reason'],
    ),
    leasesHeld: telemetry.gauge('likewise_outbox_leases_held', 'Shards this relay holds.'),
    fencedWrites: telemetry.counter(
      'likewise_outbox_fenced_writes_total',
      'Cursor steps refused because the shard has another owner or the cursor had moved.',
    ),
  }
}
