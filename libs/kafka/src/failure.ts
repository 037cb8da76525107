import { Failure } from '@likewise/service'

// The broker's answers about the record itself. All others are about the broker, the network, our rights or our clock: an
// access rule that slipped, a topic that was deleted, a sender a day ahead (INVALID_TIMESTAMP, where a topic keeps the
// sender's time) must not count against an event.
const refused = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
])

/** What a client may put on its errors: kafkajs the name of Kafka's error code as `type`, platformatic as `apiId`. */
type ClientError = Error & { type?: string; apiId?: string; serverErrorMessage?: string | null }

/**
 * Tells an outage (BROKER_UNAVAILABLE, retried for ever) from a record the broker refuses (EVENT_REFUSED). Where several
 * things went wrong at once, one refusal makes a refusal: sent alone, each record will tell what is true of it.
 */
export function kafkaFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  const causes = firstCauses(error)
  const refusal = causes.find((cause) => refused.has(codeOf(cause)))
  if (refusal !== undefined) {
    return new Failure('EVENT_REFUSED', `Kafka refuses the record (${codeOf(refusal)}): ${textOf(refusal)}`, {
      cause: error,
    })
  }
  return new Failure('BROKER_UNAVAILABLE', `Kafka does not take or give records: ${textOf(causes[0])}`, {
    cause: error,
  })
}

function firstCauses(error: unknown): unknown[] {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.flatMap(firstCauses)
  if (error instanceof Error && error.cause instanceof Error) return firstCauses(error.cause)
  return [error]
}

function codeOf(cause: unknown): string {
  const { type, apiId } = (cause ?? {}) as Partial<ClientError>
  return type ?? apiId ?? ''
}

function textOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  return (cause as ClientError).serverErrorMessage ?? cause.message
}
