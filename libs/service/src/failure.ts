/**
 * Every operational fault Likewise knows. `retryable` is what callers decide by; `title` is safe to show to anybody.
 * Codes are permanent: they stand in logs, in problem URNs and in dashboards.
 */
export const failures = {
  CONFIG_INVALID: { retryable: false, httpStatus: 500, title: 'Configuration invalid' },
  PORT_IN_USE: { retryable: false, httpStatus: 500, title: 'Port in use' },
  DATABASE_UNAVAILABLE: { retryable: true, httpStatus: 503, title: 'Database unavailable' },
  /** Deadlock, serialization failure, lock timeout or statement timeout: the same statement may work next time. */
  DATABASE_BUSY: { retryable: true, httpStatus: 503, title: 'Database busy' },
  DATABASE_NOT_MIGRATED: { retryable: false, httpStatus: 500, title: 'Database not migrated' },
  /** The database refuses this statement for good. */
  DATABASE_REFUSED: { retryable: false, httpStatus: 500, title: 'Database refused the statement' },
  /** The outbox was restored into another cluster: `likewise outbox recover` mends it. */
  OUTBOX_MISMATCH: { retryable: false, httpStatus: 500, title: 'Outbox mismatch' },
  /** The replication slot cannot be read without passing over events: lost, missing, moved, or somebody else's. */
  SLOT_UNUSABLE: { retryable: false, httpStatus: 500, title: 'Replication slot unusable' },
  /** Any outage: unreachable, timeout, too few replicas, but also not authorised and unknown topic (an ACL slip heals). */
  BROKER_UNAVAILABLE: { retryable: true, httpStatus: 503, title: 'Broker unavailable' },
  /** The broker refuses the record itself: invalid or too large. */
  EVENT_REFUSED: { retryable: false, httpStatus: 500, title: 'Event refused' },
  /** Whether the event had its effect cannot be told from its id. */
  EVENT_UNJUDGED: { retryable: false, httpStatus: 500, title: 'Event cannot be judged' },
  /** The Kafka client gets nowhere although Kafka answers, and so did fresh ones. */
  CONSUMER_STUCK: { retryable: false, httpStatus: 500, title: 'Consumer stuck' },
  /** What is asked for does not fit what is there. */
  CONFLICT: { retryable: false, httpStatus: 409, title: 'Conflict' },
  /** An Idempotency-Key that stands for another request, or for one that is not finished. */
  IDEMPOTENCY_KEY_REUSED: { retryable: false, httpStatus: 422, title: 'Idempotency key reused' },
  IDEMPOTENCY_KEY_IN_FLIGHT: { retryable: true, httpStatus: 409, title: 'Idempotency key in flight' },
  NOT_FOUND: { retryable: false, httpStatus: 404, title: 'Not found' },
  METHOD_NOT_ALLOWED: { retryable: false, httpStatus: 405, title: 'Method not allowed' },
  BODY_INVALID: { retryable: false, httpStatus: 400, title: 'Body invalid' },
  PARAMS_INVALID: { retryable: false, httpStatus: 400, title: 'Parameters invalid' },
  MEDIA_TYPE_UNSUPPORTED: { retryable: false, httpStatus: 415, title: 'Media type unsupported' },
  BODY_TOO_LARGE: { retryable: false, httpStatus: 413, title: 'Body too large' },
  /** Nobody said who asks, or the proof is not valid (any more). */
  UNAUTHENTICATED: { retryable: false, httpStatus: 401, title: 'Not authenticated' },
  /** Known, and not allowed: mostly to act for another user. */
  FORBIDDEN: { retryable: false, httpStatus: 403, title: 'Forbidden' },
  TOO_MANY_REQUESTS: { retryable: true, httpStatus: 429, title: 'Too many requests' },
  /** Shed, before anything was done with it. */
  OVERLOADED: { retryable: true, httpStatus: 503, title: 'Overloaded' },
  /** A token can be judged neither way, since the keys of its issuer cannot be read. */
  IDENTITY_UNAVAILABLE: { retryable: true, httpStatus: 503, title: 'Identity unavailable' },
  /** As many streams are open as one process takes. */
  TOO_MANY_STREAMS: { retryable: true, httpStatus: 503, title: 'Too many streams' },
  MISSING_TOOL: { retryable: false, httpStatus: 500, title: 'Tool missing' },
  ALREADY_RUNNING: { retryable: false, httpStatus: 500, title: 'Already running' },
} as const satisfies Record<string, { retryable: boolean; httpStatus: number; title: string }>

export type FailureCode = keyof typeof failures

/**
 * The one operational error class: something outside the code is wrong and the sentence says what, and how to mend it.
 * Expected outcomes are values, bugs are asserts; neither is a Failure.
 */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly code: FailureCode
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(
    code: FailureCode,
    sentence: string,
    options: { cause?: unknown; details?: Readonly<Record<string, unknown>> | undefined } = {},
  ) {
    super(sentence, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details
  }

  get retryable(): boolean {
    return failures[this.code].retryable
  }

  get httpStatus(): number {
    return failures[this.code].httpStatus
  }
}
