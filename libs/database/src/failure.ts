import { Failure } from '@likewise/service'
import { readFault } from './fault.ts'
import type { Fault } from './fault.ts'

// Nothing is wrong with the statement: PostgreSQL is away, full, starting, read-only after a failover, or does not let
// us in. These are outages, so that a slip in a grant never makes a consumer park the world.
const unavailable = /^(08|28|53|57P|58)|^(25006|25P03|25P04|3D000|42501)$/
// Rolled back for certain, and may succeed when tried again: serialization, deadlock, lock_timeout, statement_timeout.
const busy = /^(40001|40P01|55P03|57014)$/
// The code knows a schema, table, column or function that the database does not.
const notMigrated = /^(3F000|42P01|42703|42883|42704)$/

/**
 * Turns what Prisma, its driver adapter or pg throw into a Failure; returns every other error as it is.
 * - DATABASE_UNAVAILABLE: an outage. If it broke a write, its outcome is unknown.
 * - DATABASE_BUSY: the statement or transaction is rolled back and may be tried again.
 * - DATABASE_NOT_MIGRATED: run `npm run migrate`.
 * - DATABASE_REFUSED: PostgreSQL says no to this statement; details: sqlstate, constraint.
 */
export function databaseFailure(error: unknown): Error {
  if (error instanceof Failure) return error
  const fault = readFault(error)
  if (fault === undefined) return error instanceof Error ? error : new Error(String(error), { cause: error })
  const { sqlstate, constraint, message } = fault
  const code = codeOf(fault)
  const sentence = sqlstate === '42501' ? denied : fault.distrusted ? notTrusted : sentences[code]
  return new Failure(code, `${sentence} ${message.replace(/\.$/, '')}.`, {
    cause: error,
    details: { ...(sqlstate && { sqlstate }), ...(constraint && { constraint }) },
  })
}

// Outages, too, for what slipped is put back; but not ones to look at the server for.
const notTrusted =
  "PostgreSQL's certificate is not to be trusted (see sslrootcert, and the host, in the URL):"
const denied = 'PostgreSQL does not let this user do it (docs/security.md, Roles):'

type DatabaseCode = keyof typeof sentences

const sentences = {
  DATABASE_UNAVAILABLE: 'PostgreSQL is not available:',
  DATABASE_BUSY: 'PostgreSQL is busy:',
  DATABASE_NOT_MIGRATED: 'The database does not have what the code needs, run npm run migrate:',
  DATABASE_REFUSED: 'PostgreSQL refused the statement:',
}

function codeOf({ sqlstate, connection }: Fault): DatabaseCode {
  if (sqlstate === undefined) return connection ? 'DATABASE_UNAVAILABLE' : 'DATABASE_REFUSED'
  if (busy.test(sqlstate)) return 'DATABASE_BUSY'
  if (unavailable.test(sqlstate)) return 'DATABASE_UNAVAILABLE'
  return notMigrated.test(sqlstate) ? 'DATABASE_NOT_MIGRATED' : 'DATABASE_REFUSED'
}
