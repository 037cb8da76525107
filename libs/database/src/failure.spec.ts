import { describe, expect, it } from '@jest/globals'
import { Failure } from '@likewise/service'
import { databaseFailure } from './failure.ts'

const fromServer = (code: string) =>
  Object.assign(new Error('the server said so'), { code, severity: 'ERROR' })

describe('a database error becomes a failure', () => {
  it.each([
    ['a backend that was terminated', '57P01', 'DATABASE_UNAVAILABLE'],
    ['a server that is starting', '57P03', 'DATABASE_UNAVAILABLE'],
    ['a broken protocol', '08006', 'DATABASE_UNAVAILABLE'],
    ['too many connections', '53300', 'DATABASE_UNAVAILABLE'],
    ['a full disk', '53100', 'DATABASE_UNAVAILABLE'],
    ['a standby after a failover', '25006', 'DATABASE_UNAVAILABLE'],
    ['a missing grant', '42501', 'DATABASE_UNAVAILABLE'],
    ['a wrong password', '28P01', 'DATABASE_UNAVAILABLE'],
    ['a serialization failure', '40001', 'DATABASE_BUSY'],
    ['a deadlock', '40P01', 'DATABASE_BUSY'],
    ['a lock timeout', '55P03', 'DATABASE_BUSY'],
    ['a statement timeout', '57014', 'DATABASE_BUSY'],
    ['a missing table', '42P01', 'DATABASE_NOT_MIGRATED'],
    ['a missing schema', '3F000', 'DATABASE_NOT_MIGRATED'],
    ['a missing column', '42703', 'DATABASE_NOT_MIGRATED'],
    ['a number out of range', '22003', 'DATABASE_REFUSED'],
    ['a broken rule', '23514', 'DATABASE_REFUSED'],
  ])('%s (%s) is %s', (_what, sqlstate, code) => {
    expect(databaseFailure(fromServer(sqlstate))).toMatchObject({ code, details: { sqlstate } })
  })

  it.each(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'P1001', 'P1008', 'P1017', 'P2024', 'P2028'])(
    'an outage seen as %s is DATABASE_UNAVAILABLE',
    (code) => {
      const failure = databaseFailure(Object.assign(new Error('gone'), { code }))
      expect(failure).toMatchObject({ code: 'DATABASE_UNAVAILABLE', retryable: true })
    },
  )

  it('an error that is not the database’s stays what it is', () => {
    const bug = new TypeError('x is not a function')
    expect(databaseFailure(bug)).toBe(bug)
    const missingFile = Object.assign(new Error('no such file'), { code: 'EISDIR' })
    expect(databaseFailure(missingFile)).toBe(missingFile)
  })

  it('a failure stays the failure it is', () => {
    const failure = new Failure('NOT_FOUND', 'There is no such product.')
    expect(databaseFailure(failure)).toBe(failure)
  })
})
