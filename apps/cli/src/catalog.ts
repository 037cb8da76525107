import { InvalidArgumentError } from 'commander'
import { type Database, connectDatabase } from '@likewise/database'
import { readConfig } from '@likewise/service'
import { OutboxConfig } from './config.ts'

export type Say = (line: string) => void

export const connect = (url: string, statementTimeoutMs = 30_000, poolSizeMax = 2): Database =>
  connectDatabase({
    url,
    poolSizeMax,
    connectTimeoutMs: 2_000,
    statementTimeoutMs,
    applicationName: 'likewise-cli',
  })

/**
 * `work` with the producer side's database, closed afterwards, and the URL of PostgreSQL itself. `statementTimeoutMs` 0: no limit, for
 * what may touch a ring or a key full of rows.
 */
export async function withCatalog<T>(
  work: (db: Database, directUrl: string) => Promise<T>,
  statementTimeoutMs?: number,
): Promise<T> {
  const { CATALOG_DATABASE_URL: url, CATALOG_DATABASE_DIRECT_URL: directUrl } = readConfig(OutboxConfig)
  const db = connect(url, statementTimeoutMs)
  try {
    return await work(db, directUrl ?? url)
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
