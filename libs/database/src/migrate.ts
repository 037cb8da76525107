import { Failure, pause } from '@likewise/service'
import { assertDirect } from './connection.ts'
import { databaseFailure } from './failure.ts'
import { readFault } from './fault.ts'
import { MigrationAdapter } from './migration-adapter.ts'
import { migrationsDirDefault, readMigrations } from './migration-files.ts'
import { withMigrationLock } from './migration-lock.ts'
import { openSchemaEngine } from './schema-engine.ts'

export interface MigrateOptions {
  migrationsDir?: string
  connectTimeoutMs?: number
  /** How long to wait for another migrator before giving up. */
  lockWaitMs?: number
}

type Migrations = Awaited<ReturnType<typeof readMigrations>>

/** Tables that Prisma is to leave alone; none. */
export const noFilters = { externalTables: [], externalEnums: [] }

/**
 * Applies what is missing, in order, each file as one transaction (unless it commits by itself); running it again
 * applies nothing. Several migrators may run at once: one works, the others wait for it and find nothing to do.
 */
export async function migrate(url: string, options: MigrateOptions = {}): Promise<{ applied: string[] }> {
  const { migrationsDir = migrationsDirDefault, connectTimeoutMs = 5_000, lockWaitMs = 120_000 } = options
  assertDirect(url, 'Migrations')
  const migrations = await readMigrations(migrationsDir)
  const deadline = performance.now() + lockWaitMs
  return withMigrationLock(url, { connectTimeoutMs, deadline }, async () => {
    for (;;) {
      const applied = await applyOnce(url, migrations, connectTimeoutMs)
      if (applied !== 'locked') return { applied }
      // `prisma migrate` itself is at work: it does not know our lock, but we know its.
      if (performance.now() > deadline)
        throw new Failure('DATABASE_BUSY', 'Prisma is migrating this database.')
      await pause(250)
    }
  })
}

async function applyOnce(
  url: string,
  migrations: Migrations,
  connectTimeoutMs: number,
): Promise<string[] | 'locked'> {
  const adapter = new MigrationAdapter(url, connectTimeoutMs)
  try {
    const engine = await openSchemaEngine(adapter)
    try {
      const output = await engine.applyMigrations({ migrationsList: migrations, filters: noFilters })
      return output.appliedMigrationNames
    } catch (error) {
      if (codeOf(error) === 'P1002' && adapter.scriptError === undefined) return 'locked'
      const failure = migrationFailure(error, adapter.scriptError)
      // PostgreSQL has spoken, so the file is rolled back and may simply be tried again once it is mended.
      // If saying so fails too, the next run calls the migration interrupted; this failure is the one to report.
      const { migration, sqlstate } = failure.details ?? {}
      if (typeof migration === 'string' && sqlstate !== undefined)
        await engine.markMigrationRolledBack({ migrationName: migration }).catch(() => undefined)
      throw failure
    } finally {
      engine.free()
    }
  } finally {
    await adapter.close()
  }
}

function migrationFailure(error: unknown, scriptError: unknown): Failure {
  const report = messageOf(error)
  const migration =
    /migration_name="([^"]+)"/.exec(report)?.[1] ?? /The `([^`]+)` migration started/.exec(report)?.[1]
  if (scriptError !== undefined && migration !== undefined) {
    const fault = readFault(scriptError)
    const outage = fault?.sqlstate === undefined
    const { code } = databaseFailure(scriptError) as Partial<Failure>
    return new Failure(
      outage || code === 'DATABASE_BUSY' ? (code ?? 'DATABASE_REFUSED') : 'DATABASE_REFUSED',
      `Migration ${migration} failed: ${fault?.message ?? messageOf(scriptError)}.`,
      { cause: scriptError, details: { migration, ...(fault?.sqlstate && { sqlstate: fault.sqlstate }) } },
    )
  }
  if (codeOf(error) === 'P3009') return interrupted(error, migration)
  const failure = databaseFailure(error)
  if (failure instanceof Failure) return failure
  return new Failure('DATABASE_REFUSED', `The migrations cannot be applied: ${summary(report)}`, {
    cause: error,
  })
}

// The process or its connection died in the middle, and PostgreSQL may have finished the file nevertheless.
function interrupted(cause: unknown, migration: string | undefined): Failure {
  const name = String(migration)
  return new Failure(
    'DATABASE_REFUSED',
    `Migration ${name} was interrupted. Look whether what it makes is there: if so, set finished_at, if not, set ` +
      `rolled_back_at, to now() in _prisma_migrations where migration_name = '${name}', and migrate again.`,
    { cause, details: { migration } },
  )
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | undefined)?.code
}

function messageOf(error: unknown): string {
  return String((error as { message?: unknown } | undefined)?.message ?? error)
}

// Below its sentence the engine prints a trace of its own sources.
function summary(report: string): string {
  return (report.split(/\n\s+0: /)[0] ?? report).replaceAll(/\s*\n\s*/g, ' ').trim()
}
