import { describe, expect, it } from '@jest/globals'
import { Failure, failures } from './failure.ts'
import type { FailureCode } from './failure.ts'

describe('Failure', () => {
  const table: [FailureCode, boolean, number][] = [
    ['CONFIG_INVALID', false, 500],
    ['PORT_IN_USE', false, 500],
    ['DATABASE_UNAVAILABLE', true, 503],
    ['DATABASE_BUSY', true, 503],
    ['DATABASE_NOT_MIGRATED', false, 500],
    ['DATABASE_REFUSED', false, 500],
    ['OUTBOX_MISMATCH', false, 500],
    ['SLOT_UNUSABLE', false, 500],
    ['BROKER_UNAVAILABLE', true, 503],
    ['EVENT_REFUSED', false, 500],
    ['EVENT_UNJUDGED', false, 500],
    ['CONSUMER_STUCK', false, 500],
    ['CONFLICT', false, 409],
    ['IDEMPOTENCY_KEY_REUSED', false, 422],
    ['IDEMPOTENCY_KEY_IN_FLIGHT', true, 409],
    ['NOT_FOUND', false, 404],
    ['METHOD_NOT_ALLOWED', false, 405],
    ['BODY_INVALID', false, 400],
    ['PARAMS_INVALID', false, 400],
    ['MEDIA_TYPE_UNSUPPORTED', false, 415],
    ['BODY_TOO_LARGE', false, 413],
    ['UNAUTHENTICATED', false, 401],
    ['FORBIDDEN', false, 403],
    ['TOO_MANY_REQUESTS', true, 429],
    ['OVERLOADED', true, 503],
    ['IDENTITY_UNAVAILABLE', true, 503],
    ['TOO_MANY_STREAMS', true, 503],
    ['MISSING_TOOL', false, 500],
    ['ALREADY_RUNNING', false, 500],
  ]

  it('keeps for every code what callers and clients decide by', () => {
    expect(table.map(([code]) => code)).toEqual(Object.keys(failures))
    for (const [code, retryable, httpStatus] of table) {
      const failure = new Failure(code, 'A sentence.')
      expect({ code: failure.code, retryable: failure.retryable, httpStatus: failure.httpStatus }).toEqual({
        code,
        retryable,
        httpStatus,
      })
    }
  })

  it('says "try again" with each 503, with 429, and for a key in flight; with nothing else', () => {
    const again = table.filter(([, retryable]) => retryable)
    expect(again.filter(([, , status]) => status !== 503).map(([code]) => code)).toEqual([
      'IDEMPOTENCY_KEY_IN_FLIGHT',
      'TOO_MANY_REQUESTS',
    ])
    for (const [, retryable, status] of table) expect(retryable || status !== 503).toBe(true)
  })

  it('carries the sentence, the cause and the details', () => {
    const cause = new Error('ECONNREFUSED')
    const failure = new Failure('DATABASE_UNAVAILABLE', 'PostgreSQL does not answer.', {
      cause,
      details: { port: 5432 },
    })
    expect(failure).toBeInstanceOf(Error)
    expect(failure).toMatchObject({
      name: 'Failure',
      message: 'PostgreSQL does not answer.',
      cause,
      details: { port: 5432 },
    })
  })
})
