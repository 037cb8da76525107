import { Failure, within } from '@likewise/service'
import { pooledConnections } from './connection.ts'
import { databaseFailure } from './failure.ts'
import { Prisma, PrismaClient } from './generated/client.ts'
import { queryableOf, type Queryable } from './queryable.ts'
import { sql, type Sql } from './sql.ts'

export interface DatabaseOptions {
  url: string
  poolSizeMax: number
  /** How long a connection may take to open, or a statement to get one from the pool. */
  connectTimeoutMs: number
  /** The server cancels a statement after this, and ends a transaction that lies idle as long. 0: no limit. */
  statementTimeoutMs: number
  lockTimeoutMs?: number
  /**
   * For a process all of whose statements find their rows by an index. Otherwise a plan that is kept from when a table was
   * empty reads the whole of it, until PostgreSQL happens to count its rows: for minutes, each time a little more.
   */
  alwaysByIndex?: boolean
  applicationName: string
}

export interface TxOptions {
  /** The whole transaction, from its first statement; twice the statement timeout unless told. */
  timeoutMs?: number
  isolation?: Prisma.TransactionIsolationLevel
}

/** One transaction. Inside it only it: no other I/O, its locks would wait for that. */
export interface Tx extends Queryable {
  client: Prisma.TransactionClient
}

export interface Database extends Queryable {
  /** Commits what `work` returns, rolls back what it throws; errors that are not the database's pass unchanged. */
  tx<T>(work: (tx: Tx) => Promise<T>, options?: TxOptions): Promise<T>
  /** Ordinary queries through models. Their errors are Prisma's; databaseFailure reads them. */
  client: PrismaClient
  /** Resolves if PostgreSQL answers within the connect timeout. */
  ping(): Promise<void>
  /** Closes every connection; transactions that are still open are rolled back. Bounded, and for good. */
  stop(): Promise<void>
}

// Statements under way may finish; then sockets are cut, since a server that is gone would hold the process.
const stopGraceMs = 2_000
// Above pg's own limits, so that their clearer errors come first.
const waitMarginMs = 250
// Only where statementTimeoutMs is 0: Prisma must be given a number. The longest a timer can be, 24 days.
const unlimitedMs = 2 ** 31 - 1

/** Opens no connection until the first statement. */
export function connectDatabase(options: DatabaseOptions): Database {
  const connections = pooledConnections(options)
  const client = new PrismaClient({ adapter: connections.adapter, errorFormat: 'minimal' })
  const queryable = queryableOf(client)
  let stopping: Promise<void> | undefined

  const assertRunning = (): void => {
    if (stopping) throw new Failure('DATABASE_UNAVAILABLE', 'The database client was stopped.')
  }
  const txDefaults = {
    maxWait: options.connectTimeoutMs + waitMarginMs,
    timeout: options.statementTimeoutMs > 0 ? options.statementTimeoutMs * 2 : unlimitedMs,
  }

  return {
    client,
    query: async <T>(statement: Sql) => {
      assertRunning()
      return queryable.query<T>(statement)
    },
    execute: async (statement) => {
      assertRunning()
      return queryable.execute(statement)
    },
    tx: async (work, { timeoutMs, isolation } = {}) => {
      assertRunning()
      return runTx(client, work, {
        ...txDefaults,
        ...(timeoutMs !== undefined && { timeout: timeoutMs }),
        ...(isolation !== undefined && { isolationLevel: isolation }),
      })
    },
    ping: async () => {
      assertRunning()
      const limitMs = options.connectTimeoutMs + waitMarginMs
      await within(
        limitMs,
        queryable.query(sql`select 1`),
        () => new Failure('DATABASE_UNAVAILABLE', `PostgreSQL did not answer within ${limitMs} ms.`),
      )
    },
    stop: () => (stopping ??= stop(client, connections.destroyAll)),
  }
}

type PrismaTxOptions = { maxWait: number; timeout: number; isolationLevel?: Prisma.TransactionIsolationLevel }

async function runTx<T>(
  client: PrismaClient,
  work: (tx: Tx) => Promise<T>,
  options: PrismaTxOptions,
): Promise<T> {
  try {
    return await client.$transaction(async (txClient) => {
      let broken: Error | undefined
      const result = await work({
        client: txClient,
        ...watched(queryableOf(txClient), (error) => (broken = error)),
      })
      // PostgreSQL answers COMMIT of a failed transaction with a silent ROLLBACK, and Prisma takes it for success.
      if (broken !== undefined) throw broken
      return result
    }, options)
  } catch (error) {
    throw databaseFailure(error)
  }
}

/** Tells the outcome of each statement: its error, or undefined, as after a rollback to a savepoint. */
function watched(queryable: Queryable, tell: (error: Error | undefined) => void): Queryable {
  const watch = async <T>(statement: Promise<T>): Promise<T> => {
    try {
      const result = await statement
      tell(undefined)
      return result
    } catch (error) {
      tell(error as Error)
      throw error
    }
  }
  return {
    query: <T>(statement: Sql) => watch(queryable.query<T>(statement)),
    execute: (statement) => watch(queryable.execute(statement)),
  }
}

async function stop(client: PrismaClient, destroyAll: () => void): Promise<void> {
  const timer = setTimeout(destroyAll, stopGraceMs)
  try {
    await client.$disconnect()
  } finally {
    clearTimeout(timer)
  }
}
