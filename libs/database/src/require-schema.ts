import { Failure } from '@likewise/service'
import type { Queryable } from './queryable.ts'
import { raw, sql } from './sql.ts'

const firstTable = { catalog: 'catalog.outbox_meta', metrics: 'metrics.product_metrics' }

/**
 * Resolves when the database answers and holds the schema. For a start: a service whose database is not there says so
 * in one sentence, naming the variable that points at it, instead of coming up broken.
 */
export async function requireSchema(
  db: Queryable,
  { schema, variable }: { schema: keyof typeof firstTable; variable: string },
): Promise<void> {
  try {
    // By its name: not every service may read it.
    await db.query(sql`select '${raw(firstTable[schema])}'::regclass::text`)
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    if (error.code !== 'DATABASE_NOT_MIGRATED') throw unusableDatabase(variable, error)
    const sentence = `The database of ${variable} has no schema ${schema} yet. Run: npm run migrate`
    throw new Failure(error.code, sentence, { cause: error })
  }
}

/** What a client or a migration says, with the variable to look at. */
export function unusableDatabase(variable: string, failure: Failure): Failure {
  const why = failure.message.replace(/\.$/, '')
  const hint = failure.code === 'DATABASE_UNAVAILABLE' ? ' Is PostgreSQL running, and the URL right?' : ''
  return new Failure(failure.code, `The database of ${variable} cannot be used: ${why}.${hint}`, {
    cause: failure,
    details: failure.details,
  })
}
