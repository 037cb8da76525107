import { Client } from 'pg'
import { splitUrl } from './connection.ts'
import { databaseFailure } from './failure.ts'
import { migrationsDirDefault, readMigrations } from './migration-files.ts'
import type { Queryable } from './queryable.ts'
import { sql } from './sql.ts'

/** Settings as any client of this role gets them, without those that services set for their own connections. */
export async function readPlainSettings(
  url: string,
  names: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const { connectionString, startupOptions } = splitUrl(url)
  const client = new Client({
    ...{ connectionString, connectionTimeoutMillis: 5_000, query_timeout: 5_000 },
    ...(startupOptions !== '' && { options: startupOptions }),
  })
  // A connection that breaks while it is idle says so to nobody else.
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query<{ name: string; setting: string }>(
      'select name, setting from pg_settings where name = any ($1::text[])',
      [names],
    )
    return new Map(rows.map(({ name, setting }) => [name, setting]))
  } catch (error) {
    throw databaseFailure(error)
  } finally {
    await client.end().catch(() => undefined)
  }
}

export interface MigrationState {
  /** Of this version, and not applied. */
  readonly missing: readonly string[]
  /** Begun, and neither finished nor rolled back. */
  readonly failed: readonly string[]
  /** Applied, and of another version. */
  readonly foreign: readonly string[]
}

/** How the database's migrations stand to those of this version. Any user may ask. */
export async function readMigrationState(
  db: Queryable,
  dir: string = migrationsDirDefault,
): Promise<MigrationState> {
  const { migrationDirectories } = await readMigrations(dir)
  const known = migrationDirectories.map(({ path }) => path)
  const [there] = await db.query<{ there: boolean }>(
    sql`select to_regclass('_prisma_migrations') is not null as there`,
  )
  const rows = there?.there
    ? await db.query<{ name: string; finished: boolean }>(sql`
        select migration_name as name, finished_at is not null as finished from _prisma_migrations
        where rolled_back_at is null`)
    : []
  const finished = new Set(rows.filter((row) => row.finished).map(({ name }) => name))
  return {
    missing: known.filter((name) => !finished.has(name)),
    failed: rows.filter((row) => !row.finished).map(({ name }) => name),
    foreign: [...finished].filter((name) => !known.includes(name)),
  }
}
