/** A header as clients hand it over; null where it has no value, an array where the record repeats it. */
export type HeaderValue = Uint8Array | string | null | readonly (Uint8Array | string | null)[] | undefined

/** The wire form of an event: one Kafka record, in no client's types. */
export interface Envelope {
  readonly key: string | null
  readonly value: Uint8Array | string | null
  readonly headers: Readonly<Record<string, HeaderValue>>
}

/** An envelope we make ourselves: nothing is missing and everything is text. */
export interface TextEnvelope extends Envelope {
  readonly key: string
  readonly value: string
  readonly headers: Readonly<Record<string, string>>
}

export interface Attributes {
  readonly id: string
  readonly source: string
  readonly type: string
  readonly time: string
  readonly subject: string
  readonly sequence: string | undefined
  readonly traceparent: string | undefined
}

/** CloudEvents 1.0, Kafka binding, binary mode. Names and order are part of the golden fixtures. */
export function headersOf(attributes: Attributes): Record<string, string> {
  const headers: Record<string, string> = {
    ce_specversion: '1.0',
    ce_id: attributes.id,
    ce_source: attributes.source,
    ce_type: attributes.type,
    ce_time: attributes.time,
    ce_subject: attributes.subject,
    'content-type': 'application/json',
  }
  if (attributes.sequence !== undefined) headers.ce_sequence = attributes.sequence
  if (attributes.traceparent !== undefined) headers.traceparent = attributes.traceparent
  return headers
}
