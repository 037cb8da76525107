import type { Tx } from './database.ts'
import { type Sql, raw, sql } from './sql.ts'

let cursors = 0

/**
 * The rows of a statement, a page at a time, from a cursor of the transaction: neither here nor there are more of them held
 * than a page. Two of one transaction may be read in turns.
 */
export async function* streamRows<T>(tx: Tx, statement: Sql, rowsAtOnce = 5_000): AsyncGenerator<T[]> {
  const cursor = raw(`likewise_cursor_${String((cursors += 1))}`)
  await tx.execute(sql`declare ${cursor} no scroll cursor for ${statement}`)
  for (;;) {
    const page = await tx.query<T>(sql`fetch forward ${raw(String(rowsAtOnce))} from ${cursor}`)
    if (page.length > 0) yield page
    if (page.length < rowsAtOnce) break
  }
  await tx.execute(sql`close ${cursor}`)
}
