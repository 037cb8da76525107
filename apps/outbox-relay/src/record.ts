import { envelopeOf } from '@likewise/events'
import type { OutgoingRecord } from '@likewise/kafka'
import type { OutboxEvent } from '@likewise/outbox'

/** Where the outbox meets Kafka; neither library knows the other. */
export function recordOf(event: OutboxEvent, source: string): OutgoingRecord {
  return { topic: event.topic, ...envelopeOf(event, source) }
}
