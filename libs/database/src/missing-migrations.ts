import { migrationsDirDefault, readMigrations } from './migration-files.ts'
import type { Queryable } from './queryable.ts'
import { sql } from './sql.ts'

/**
 * The migrations of this version that the database has not had, in order. Any user may ask. Migrations of a newer version
 * are no matter: they only add what the older one does not look at.
 */
export async function missingMigrations(
  db: Queryable,
  migrationsDir = migrationsDirDefault,
): Promise<string[]> {
  const { migrationDirectories } = await readMigrations(migrationsDir)
  const names = migrationDirectories.map(({ path }) => path)
  const [book] = await db.query<{ isThere: boolean }>(
    sql`select to_regclass('_prisma_migrations') is not null as "isThere"`,
  )
  if (!book?.isThere) return names
  const rows = await db.query<{ name: string }>(sql`
    select migration_name as name from _prisma_migrations where finished_at is not null and rolled_back_at is null`)
  const applied = new Set(rows.map(({ name }) => name))
  return names.filter((name) => !applied.has(name))
}
