import { headersOf, type TextEnvelope } from './envelope.ts'

/** An outbox row as the relay reads it. */
export interface StoredEvent {
  readonly id: string
  readonly eventType: string
  readonly aggregateId: string
  readonly partitionKey: string
  /** JSON text, sent byte for byte as it was stored. */
  readonly payload: string
  /** RFC 3339. */
  readonly createdAt: string
  readonly seq: string
  readonly traceparent: string | null
  readonly headers: Readonly<Record<string, string>> | null
}

/**
 * What the relay sends for a row. Nothing is checked or rewritten: the row is committed, so it is sent, and the
 * consumer judges it. The row's own headers go along, but cannot replace the contract's.
 */
export function envelopeOf(stored: StoredEvent, source: string): TextEnvelope {
  const headers = headersOf({
    id: stored.id,
    source,
    type: stored.eventType,
    time: stored.createdAt,
    subject: stored.aggregateId,
    sequence: stored.seq,
    traceparent: stored.traceparent ?? undefined,
  })
  return {
    key: stored.partitionKey,
    value: stored.payload,
    headers: stored.headers === null ? headers : { ...stored.headers, ...headers },
  }
}
