import type { PrismaPg } from '@prisma/adapter-pg'
import type { SqlQueryable } from '@prisma/driver-adapter-utils'
import type { PoolClient } from 'pg'
import { GuardedPrismaPg, type SilenceLimit } from './guarded-adapter.ts'

type Connection = Awaited<ReturnType<PrismaPg['connect']>>

/**
 * Through a pooler in transaction mode (PgBouncer and its like) each transaction may get another session of PostgreSQL, and
 * leaves it to a stranger. So nothing may live longer than a transaction:
 * - no named statements;
 * - settings are made with `set local`, in the same message as BEGIN. Given at connect they would be refused or dropped,
 *   made by `set` they would be lost by us and found by others;
 * - a statement by itself is wrapped in a transaction for that: three messages instead of one.
 */
export class PoolerPrismaPg extends GuardedPrismaPg {
  readonly #begin: string

  constructor(
    config: ConstructorParameters<typeof PrismaPg>[0],
    silence: SilenceLimit,
    settings: Readonly<Record<string, string | number>>,
  ) {
    super(config, silence, undefined)
    const local = Object.entries(settings).map(([name, value]) => `set local ${name} = '${value}'`)
    this.#begin = ['begin', ...local].join('; ')
  }

  override async connect(): Promise<Connection> {
    const connection = await super.connect()
    connection.underlyingDriver().on('connect', (client) => {
      beginWith(client, this.#begin)
    })
    connection.queryRaw = (query) => inTransaction(connection, (tx) => tx.queryRaw(query))
    connection.executeRaw = (query) => inTransaction(connection, (tx) => tx.executeRaw(query))
    return connection
  }
}

/** The adapter sends BEGIN by itself; another message for the settings would cost each transaction a round trip. */
function beginWith(client: PoolClient, begin: string): void {
  const send = client.query.bind(client) as (...args: unknown[]) => unknown
  const query = (statement: unknown, ...rest: unknown[]): unknown =>
    send(isBegin(statement) ? begin : statement, ...rest)
  client.query = query as typeof client.query
}

function isBegin(statement: unknown): boolean {
  return (statement as { text?: unknown } | undefined)?.text === 'BEGIN'
}

async function inTransaction<T>(connection: Connection, work: (tx: SqlQueryable) => Promise<T>): Promise<T> {
  const tx = await connection.startTransaction()
  try {
    const result = await work(tx)
    await tx.executeRaw({ sql: 'COMMIT', args: [], argTypes: [] })
    await tx.commit() // gives the connection back, no more
    return result
  } catch (error) {
    // Where this fails too, the connection is closed as it comes back inside a transaction.
    await tx.executeRaw({ sql: 'ROLLBACK', args: [], argTypes: [] }).catch(() => undefined)
    await tx.rollback()
    throw error
  }
}
