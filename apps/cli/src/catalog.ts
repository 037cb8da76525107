import { InvalidArgumentError } from 'commander'
import { type Database, connectDatabase, withSettingsRequired } from '@likewise/database'
import { readConfig } from '@likewise/service'
import { OutboxConfig } from './config.ts'

export type Say = (line: string) => void

export interface Side {
  /** The setting that names the database, for the sentences. */
  readonly variable: string
  readonly url: string
}

/** Refuses a pooler that nobody has told it of, as the services do when they start. */
export const connect = ({ variable, url }: Side, statementTimeoutMs = 30_000, poolSizeMax = 2): Database =>
  withSettingsRequired(
    connectDatabase({
      url,
      poolSizeMax,
      connectTimeoutMs: 2_000,
      statementTimeoutMs,
      applicationName: 'likewise-cli',
    }),
    variable,
  )

export const catalogOf = (config: { readonly CATALOG_DATABASE_URL: string }): Side => ({
  variable: 'CATALOG_DATABASE_URL',
  url: config.CATALOG_DATABASE_URL,
})

export const metricsOf = (config: { readonly METRICS_DATABASE_URL: string }): Side => ({
  variable: 'METRICS_DATABASE_URL',
  url: config.METRICS_DATABASE_URL,
})

/**
 * `work` with the producer side's database, closed afterwards, and the URL of PostgreSQL itself. `statementTimeoutMs` 0: no limit, for
 * what may touch a ring or a key full of rows.
 */
export async function withCatalog<T>(
  work: (db: Database, directUrl: string) => Promise<T>,
  statementTimeoutMs?: number,
): Promise<T> {
  const config = readConfig(OutboxConfig)
  const db = connect(catalogOf(config), statementTimeoutMs)
  try {
    return await work(db, config.CATALOG_DATABASE_DIRECT_URL ?? config.CATALOG_DATABASE_URL)
  } finally {
    await db.stop()
  }
}

/** Reads an argument: 1 to `max`. */
export const wholeNumber =
  (max: number) =>
  (text: string): number => {
    if (!/^[1-9]\d{0,8}$/.test(text) || Number(text) > max)
      throw new InvalidArgumentError(`It must be a whole number from 1 to ${String(max)}.`)
    return Number(text)
  }
