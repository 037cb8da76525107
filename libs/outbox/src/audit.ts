import { type Queryable, sql } from '@likewise/database'

/** Writes down who did what to the outbox, for ever. What is done to single events is written as they are marked. */
export async function audit(
  db: Queryable,
  { actor, action, detail }: { actor: string; action: string; detail: string },
): Promise<void> {
  await db.execute(sql`
    insert into catalog.outbox_audit (actor, action, detail) values (${actor}, ${action}, ${detail})`)
}
