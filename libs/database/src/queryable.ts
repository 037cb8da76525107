import type { Prisma } from './generated/client.ts'
import { databaseFailure } from './failure.ts'
import type { Sql } from './sql.ts'

/**
 * What statements need: a Database (each statement its own transaction) or a Tx.
 *
 * What comes back: int8 as bigint, numeric as Decimal, timestamptz as Date (milliseconds), bytea as Uint8Array, uuid
 * as string, json already parsed. Where its bytes or microseconds matter, and for types Prisma does not know (xid8,
 * pg_snapshot, pg_lsn, interval), select `…::text`.
 * What goes in: values are bound as text, so say the type where PostgreSQL cannot know it: `${ids}::bigint[]`.
 * A Date is bound without its zone, which is right because every connection runs in UTC. Objects become JSON text.
 */
export interface Queryable {
  /** Runs one statement and returns its rows. Errors are `Failure`s, see databaseFailure. */
  query<T>(statement: Sql): Promise<T[]>
  /** Runs one statement and returns how many rows it touched. */
  execute(statement: Sql): Promise<number>
}

export function queryableOf(client: Prisma.TransactionClient): Queryable {
  return {
    query: async <T>(statement: Sql) => {
      try {
        return await client.$queryRaw<T[]>(statement)
      } catch (error) {
        throw databaseFailure(error)
      }
    },
    execute: async (statement) => {
      try {
        return await client.$executeRaw(statement)
      } catch (error) {
        throw databaseFailure(error)
      }
    },
  }
}
