import { Failure } from '@likewise/service'
import { settingsMark } from './connection.ts'
import type { Database } from './database.ts'
import type { Queryable } from './queryable.ts'
import { raw, sql } from './sql.ts'

/** The newest table of each schema: where it is, everything before it is. */
export const newestTable = { catalog: 'catalog.idempotency_keys', metrics: 'metrics.counted_through' }

/**
 * Without a parameter, since a statement with one is prepared by a name: another client may have left that name in a session
 * that a pooler hands on, and "prepared statement already exists" would be all that is said.
 */
const mark = raw(`current_setting('${settingsMark}', true) as mark`)

/**
 * Resolves when the database answers, runs statements under our settings, and holds the schema as this version needs it.
 * For a start: a service whose database is not there, or of a release before, says so in one sentence, naming the variable
 * that points at it, instead of coming up broken.
 */
export async function requireSchema(
  db: Queryable,
  { schema, variable }: { schema: keyof typeof newestTable; variable: string },
): Promise<void> {
  try {
    // By its name: not every service may read it.
    const [found] = await db.query<{ mark: string | null }>(sql`
      select ${mark}, '${raw(newestTable[schema])}'::regclass::text as newest`)
    if (found?.mark !== 'on') throw settingsDropped(variable)
  } catch (error) {
    if (!(error instanceof Failure) || error.code === 'CONFIG_INVALID') throw error
    if (error.code !== 'DATABASE_NOT_MIGRATED') throw unusableDatabase(variable, error)
    const sentence = `The database of ${variable} does not have the schema ${schema} as this version needs it. Run: npm run migrate`
    throw new Failure(error.code, sentence, { cause: error })
  }
}

/**
 * `db` that looks before its first statement whether statements run under our settings, for what has no start of its own at
 * which requireSchema could look: where a pooler refuses or drops them, it says so, whatever is asked. An outage is told as
 * the statement itself would have told it. Statements through `client` are not watched.
 */
export function withSettingsRequired(db: Database, variable: string): Database {
  let looked: Promise<void> | undefined
  const look = (): Promise<void> =>
    (looked ??= requireSettings(db, variable).catch((error: unknown) => {
      looked = undefined
      throw error
    }))
  return {
    ...db,
    query: async <T>(statement: Parameters<Database['query']>[0]) => {
      await look()
      return db.query<T>(statement)
    },
    execute: async (statement) => {
      await look()
      return db.execute(statement)
    },
    tx: async (work, options) => {
      await look()
      return db.tx(work, options)
    },
  }
}

async function requireSettings(db: Database, variable: string): Promise<void> {
  try {
    const [found] = await db.query<{ mark: string | null }>(sql`select ${mark}`)
    if (found?.mark !== 'on') throw settingsDropped(variable)
  } catch (error) {
    throw error instanceof Failure && isRefusedByPooler(error)
      ? throughPooler(variable, error.message.replace(/\.$/, ''), error)
      : error
  }
}

/** What a client or a migration says, with the variable to look at. */
export function unusableDatabase(variable: string, failure: Failure): Failure {
  const why = failure.message.replace(/\.$/, '')
  if (isRefusedByPooler(failure)) return throughPooler(variable, why, failure)
  const hint = failure.code === 'DATABASE_UNAVAILABLE' ? ' Is PostgreSQL running, and the URL right?' : ''
  return new Failure(failure.code, `The database of ${variable} cannot be used: ${why}.${hint}`, {
    cause: failure,
    details: failure.details,
  })
}

const isRefusedByPooler = ({ message }: Failure): boolean => message.includes('unsupported startup parameter')

const settingsDropped = (variable: string): Failure =>
  throughPooler(variable, 'the settings that were asked for at connect are not in force')

/** PgBouncer refuses `options` of a connection, or drops them without a word (ignore_startup_parameters). */
function throughPooler(variable: string, why: string, cause?: Failure): Failure {
  return new Failure(
    'CONFIG_INVALID',
    `${variable} seems to lead through a pooler: ${why}. Say so in the URL: …?pgbouncer=true (docs/operations.md, "Through PgBouncer").`,
    { cause },
  )
}
