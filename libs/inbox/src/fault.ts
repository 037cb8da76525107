import { databaseFailure } from '@likewise/database'
import { Failure, type FailureCode, maskPasswords } from '@likewise/service'

// A person has to mend these outside of the events; were they counted against them, a forgotten migration would park
// the whole stream.
const ofTheSetup: ReadonlySet<FailureCode> = new Set([
  'DATABASE_NOT_MIGRATED',
  'CONFIG_INVALID',
  'MISSING_TOOL',
])

/**
 * Whether an error may be an event's fault: a bug in the work, a constraint that one event breaks. An outage is not
 * (connection lost, timeouts, deadlock, serialization, a server that ends or is full: whatever is retryable), nor is a
 * stop.
 */
export function mayBeOfEvent(error: unknown): boolean {
  if (error instanceof Error && error.name === 'AbortError') return false
  const known = databaseFailure(error)
  return !(known instanceof Failure) || !(known.retryable || ofTheSetup.has(known.code))
}

const detailLengthMax = 800

/** The error in one line that PostgreSQL can hold and that shows no password. */
export function detailOf(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  const line = maskPasswords(text).replace(/[\s\u0000-\u001f\u007f-\u009f]+/g, ' ')
  return line
    .trim()
    .slice(0, detailLengthMax)
    .replace(/\p{Surrogate}/gu, '\uFFFD')
}
