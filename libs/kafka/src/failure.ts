import { Failure } from '@likewise/service'

// The broker's answers about the record itself. All others are about the broker, the network or our rights: an
// access rule that slipped, or a topic that was deleted, must not count against an event.
const refused = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
])

/** Tells an outage (BROKER_UNAVAILABLE, retried for ever) from a record the broker refuses (EVENT_REFUSED). */
export function kafkaFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  const cause = rootCause(error)
  const type = (cause as { type?: string } | undefined)?.type
  const text = cause instanceof Error ? cause.message : String(cause)
  if (type !== undefined && refused.has(type)) {
    return new Failure('EVENT_REFUSED', `Kafka refuses the record (${type}): ${text}`, { cause: error })
  }
  return new Failure('BROKER_UNAVAILABLE', `Kafka does not take or give records: ${text}`, { cause: error })
}

function rootCause(error: unknown): unknown {
  let cause = error
  while (cause instanceof Error && cause.cause instanceof Error) cause = cause.cause
  return cause
}
