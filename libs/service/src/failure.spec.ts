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
    ['NOT_FOUND', false, 404],
    ['BODY_INVALID', false, 400],
    ['PARAMS_INVALID', false, 400],
    ['MEDIA_TYPE_UNSUPPORTED', false, 415],
    ['BODY_TOO_LARGE', false, 413],
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

  it('says "try again" with a 503 and only with a 503', () => {
    for (const [, retryable, httpStatus] of table) expect(httpStatus === 503).toBe(retryable)
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
