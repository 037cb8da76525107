import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { type Database, type Tx, connectDatabase } from './database.ts'
import { migrate } from './migrate.ts'
import type { ServiceRole } from './logins.ts'
import type { Queryable } from './queryable.ts'
import { type Sql, raw, sql } from './sql.ts'

/** A plain client of `pg`, connected: what a service without Prisma has. */
export async function pgClient(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return client
}

export { type FaultyLink, faultyLink } from './faulty-link.ts'
export { type PgBouncer, pgBouncerMissing, startPgBouncer } from './pgbouncer.ts'

export interface TestDatabase {
  url: string
  db: Database
  /** What a service may do: `db` with the rights of its role. */
  as(role: ServiceRole): Database
  /** Closes `db` and removes the database. */
  drop(): Promise<void>
}

/** Every statement of a connection has the rights of `role`, whoever has opened it. */
export function urlAs(role: ServiceRole, server: string): string {
  const url = new URL(server)
  url.searchParams.set('options', `${url.searchParams.get('options') ?? ''} -c role=${role}`.trim())
  return url.href
}

/**
 * A migrated database of its own, cloned from a template (about 50 ms instead of a migration's second). The server is
 * the one CATALOG_DATABASE_URL names; `npm test` starts it.
 */
export async function freshDatabase(name = 'test'): Promise<TestDatabase> {
  const server = process.env['CATALOG_DATABASE_URL']
  if (!server)
    throw new Error('CATALOG_DATABASE_URL is not set: run the tests by npm test, or start a server first.')
  const admin = connect(server, 1)
  const database = `likewise_${name.replaceAll(/\W/g, '_')}_${randomBytes(6).toString('hex')}`
  try {
    const template = await requireTemplate(admin, server)
    await admin.execute(sql`create database ${raw(database)} template ${raw(template)}`)
  } finally {
    await admin.stop()
  }
  const url = databaseUrl(server, database)
  const db = connect(url, 16)
  const roles = new Map<ServiceRole, Database>()
  return {
    url,
    db,
    as(role) {
      const asRole = roles.get(role) ?? connect(urlAs(role, url), 8)
      roles.set(role, asRole)
      return asRole
    },
    async drop() {
      await Promise.all([db, ...roles.values()].map((one) => one.stop()))
      const last = connect(server, 1)
      await last.execute(sql`drop database if exists ${raw(database)} with (force)`)
      await last.stop()
    },
  }
}

/** The template is named after what it holds, so a changed migration makes a new one. */
async function requireTemplate(admin: Database, server: string): Promise<string> {
  const template = `likewise_template_${migrationsHash()}`
  // Test workers start together: one makes it, the others wait. A session's lock would need a session of our own.
  for (;;) {
    const [found] = await admin.query<{ ready: boolean }>(
      sql`select datistemplate as ready from pg_database where datname = ${template}`,
    )
    if (found?.ready) return template
    try {
      await admin.execute(sql`create database ${raw(template)}`)
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100))
      continue
    }
    await migrate(databaseUrl(server, template))
    await admin.execute(sql`alter database ${raw(template)} is_template true`)
  }
}

function migrationsHash(): string {
  const dir = fileURLToPath(new URL('../../../prisma/migrations/', import.meta.url))
  const hash = createHash('sha256')
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) hash.update(readFileSync(`${entry.parentPath}/${entry.name}`))
  }
  return hash.digest('hex').slice(0, 12)
}

const connect = (url: string, poolSizeMax: number): Database =>
  connectDatabase({
    url,
    poolSizeMax,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 60_000,
    applicationName: 'test',
  })

function databaseUrl(server: string, database: string): string {
  const url = new URL(server)
  url.pathname = `/${database}`
  return url.href
}

export interface OpenTx {
  tx: Tx
  commit(): Promise<void>
  rollback(): Promise<void>
}

/** A transaction that stays open until told, for tests about who sees what when. */
export async function openTx(db: Database): Promise<OpenTx> {
  let end: (how: 'commit' | 'rollback') => void = () => undefined
  const ended = new Promise<'commit' | 'rollback'>((resolve) => (end = resolve))
  const rolledBack = new Error('rolled back by the test')
  let whole: Promise<unknown> = Promise.resolve()
  const tx = await new Promise<Tx>((resolve, reject) => {
    const work = async (opened: Tx) => {
      resolve(opened)
      if ((await ended) === 'rollback') throw rolledBack
    }
    whole = db.tx(work, { timeoutMs: 60_000 }).catch((error: unknown) => {
      if (error !== rolledBack) throw error
    })
    whole.catch(reject)
  })
  const finish = async (how: 'commit' | 'rollback') => {
    end(how)
    await whole
  }
  return { tx, commit: () => finish('commit'), rollback: () => finish('rollback') }
}

/** Backends that wait for a lock in the database of `db`; of that application, and for that kind of lock, where told. */
export async function readWaiting(
  db: Queryable,
  { application = null, event = null }: { application?: string | null; event?: string | null } = {},
): Promise<number[]> {
  const rows = await db.query<{ pid: number }>(sql`
    select pid from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'
      and application_name = coalesce(${application}, application_name) and wait_event = coalesce(${event}, wait_event)`)
  return rows.map(({ pid }) => pid)
}

/** Takes down what the queries cost: rows that any part of their plans has touched. */
export function explained(
  db: Queryable,
): Queryable & { rowsTouched: () => number; blocksTouched: () => number } {
  let [rows, blocks] = [0, 0]
  function count(node: Record<string, unknown>): void {
    const loops = Number(node['Actual Loops'])
    rows += loops * (Number(node['Actual Rows']) + Number(node['Rows Removed by Filter'] ?? 0))
    blocks = Math.max(blocks, Number(node['Shared Hit Blocks']) + Number(node['Shared Read Blocks']))
    for (const part of (node['Plans'] ?? []) as Record<string, unknown>[]) count(part)
  }
  return {
    ...db,
    async query<T>(statement: Sql): Promise<T[]> {
      const [answer] = await db.query<{ 'QUERY PLAN': { Plan: Record<string, unknown> }[] }>(
        sql`explain (analyze, format json) ${statement}`,
      )
      for (const { Plan } of answer?.['QUERY PLAN'] ?? []) count(Plan)
      return db.query<T>(statement)
    },
    rowsTouched: () => rows,
    blocksTouched: () => blocks,
  }
}
