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

/** What of a Prisma client is needed, whichever schema it was generated from. */
export interface PrismaLike {
  $queryRaw<T>(statement: Sql): PromiseLike<T>
  $executeRaw(statement: Sql): PromiseLike<number>
}

/** A Prisma client's transaction (or the client itself), for the functions of libs/outbox and libs/inbox. */
export function queryableOf(client: PrismaLike): Queryable {
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

/** What of a client of `pg` is needed: a Client, or a PoolClient between BEGIN and COMMIT. */
export interface PgLike {
  query(statement: { text: string; values: unknown[] }): Promise<{ rows: unknown[]; rowCount: number | null }>
}

/** A client of `pg`, for the functions of libs/outbox and libs/inbox. Types come back as that client reads them. */
export function queryableOfPg(client: PgLike): Queryable {
  const run = async ({ text, values }: Sql) => {
    try {
      return await client.query({ text, values })
    } catch (error) {
      throw databaseFailure(error)
    }
  }
  return {
    query: async <T>(statement: Sql) => (await run(statement)).rows as T[],
    execute: async (statement) => (await run(statement)).rowCount ?? 0,
  }
}
