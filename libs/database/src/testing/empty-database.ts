import { randomBytes } from 'node:crypto'
import { connectDatabase } from '../database.ts'
import type { Database, DatabaseOptions } from '../database.ts'
import { raw } from '../sql.ts'

export type EmptyDatabase = {
  url: string
  /** A client with short limits, stopped at the end. */
  connect: (options?: Partial<DatabaseOptions>) => Database
  /** The server's own view: a client of another database. */
  admin: Database
  drop: () => Promise<void>
}

/** An empty database on the server of CATALOG_DATABASE_URL, which npm test starts. */
export async function emptyDatabase(server: string | undefined): Promise<EmptyDatabase> {
  if (!server) throw new Error('These tests need PostgreSQL 18: set CATALOG_DATABASE_URL to an admin URL.')
  const name = `likewise_test_${randomBytes(6).toString('hex')}`
  const url = new URL(server)
  url.pathname = `/${name}`
  const defaults: DatabaseOptions = {
    url: url.href,
    poolSizeMax: 3,
    connectTimeoutMs: 1_000,
    statementTimeoutMs: 1_000,
    lockTimeoutMs: 200,
    applicationName: 'database-test',
  }
  const clients: Database[] = []
  const connect = (options: Partial<DatabaseOptions> = {}): Database => {
    const client = connectDatabase({ ...defaults, ...options })
    clients.push(client)
    return client
  }
  const admin = connectDatabase({ ...defaults, url: server, statementTimeoutMs: 30_000 })
  await admin.execute(raw(`create database ${name}`))
  return {
    url: url.href,
    connect,
    admin,
    drop: async () => {
      await Promise.all(clients.map((client) => client.stop()))
      await admin.execute(raw(`drop database ${name} with (force)`))
      await admin.stop()
    },
  }
}
