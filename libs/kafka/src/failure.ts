import { Failure, isDistrust } from '@likewise/service'

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
  return new Failure('BROKER_UNAVAILABLE', outageOf(causes), { cause: error })
}

/** All of these are waited out. Those that somebody has to end say where to look. */
function outageOf(causes: readonly unknown[]): string {
  for (const cause of causes) {
    if (isDistrust((cause as { code?: unknown } | undefined)?.code))
      return `Kafka's certificate is not to be trusted (see KAFKA_TLS_CA, and the names in KAFKA_BROKERS): ${textOf(cause)}`
    if (isLockedOut(cause))
      return `Kafka does not let this user in (see KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD): ${textOf(cause)}`
    if (codeOf(cause).endsWith('_AUTHORIZATION_FAILED'))
      return `Kafka does not let this user do it (docs/security.md, Kafka): ${textOf(cause)}`
  }
  return `Kafka does not take or give records: ${textOf(causes[0])}`
}

function isLockedOut(cause: unknown): boolean {
  const { name, code } = (cause ?? {}) as { name?: string; code?: string }
  if (name === 'KafkaJSSASLAuthenticationError' || code === 'PLT_KFK_AUTHENTICATION') return true
  return codeOf(cause) === 'SASL_AUTHENTICATION_FAILED'
}

function firstCauses(error: unknown): unknown[] {
  // By its shape: kafkajs has an aggregate of its own, and an error of Node's may be none of this module's realm.
  const { errors, cause } = (error ?? {}) as { errors?: unknown; cause?: unknown }
  if (Array.isArray(errors) && errors.length > 0) return errors.flatMap(firstCauses)
  return isError(cause) ? firstCauses(cause) : [error]
}

const isError = (value: unknown): value is Error =>
  typeof value === 'object' && value !== null && 'message' in value

function codeOf(cause: unknown): string {
  const { type, apiId } = (cause ?? {}) as Partial<ClientError>
  return type ?? apiId ?? ''
}

function textOf(cause: unknown): string {
  if (!isError(cause)) return String(cause)
  return (cause as ClientError).serverErrorMessage ?? cause.message
}
