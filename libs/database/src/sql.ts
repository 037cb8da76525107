import { Prisma } from './generated/client.ts'

/** A piece of SQL with its parameters; `${…}` binds a value, or nests another piece. */
export type Sql = Prisma.Sql
export const sql = Prisma.sql
/** A list of values or pieces with a separator. Long lists belong in one array parameter: `= any(${ids}::bigint[])`. */
export const join = Prisma.join
/**
 * A long list as one parameter: `${arrayOf(ids)}::uuid[]`. The text is the one that pg would make of it, but Prisma turns
 * each element of a list over several times on its way there.
 */
export function arrayOf(values: readonly (string | number | bigint | boolean | null)[]): string {
  const elements = values.map((value) => {
    if (value === null) return 'NULL'
    if (typeof value !== 'string') return String(value)
    return `"${special.test(value) ? value.replace(specials, '\\$&') : value}"`
  })
  return `{${elements.join(',')}}`
}
const special = /["\\]/
const specials = /["\\]/g
/** Text that becomes SQL as it is: constants of our own, never input. */
export const raw = Prisma.raw
export const empty = Prisma.empty
