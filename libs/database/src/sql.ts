import { Prisma } from './generated/client.ts'

/** A piece of SQL with its parameters; `${…}` binds a value, or nests another piece. */
export type Sql = Prisma.Sql
export const sql = Prisma.sql
/** A list of values or pieces with a separator. Long lists belong in one array parameter: `= any(${ids}::bigint[])`. */
export const join = Prisma.join
/** Text that becomes SQL as it is: constants of our own, never input. */
export const raw = Prisma.raw
export const empty = Prisma.empty
