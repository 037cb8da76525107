import { type Queryable, raw, sql } from '@likewise/database'
import { Failure } from '@likewise/service'

/**
 * Lets the users of the relays read the write-ahead log: the right (REPLICATION) is a user's own, no role hands it on. It
 * shows every change of the whole server, so they have it only while the outbox is read that way.
 */
export async function allowReplication(db: Queryable): Promise<void> {
  for (const user of await relayUsers(db, false)) await alter(db, user, 'replication')
}

/** Takes it back, unless somebody else reads from this server: a user may be of two databases. */
export async function forbidReplication(db: Queryable): Promise<void> {
  const [other] = await db.query(sql`select from pg_replication_slots where slot_type = 'logical'`)
  if (other) return
  for (const user of await relayUsers(db, true)) await alter(db, user, 'noreplication')
}

async function relayUsers(db: Queryable, may: boolean): Promise<string[]> {
  const rows = await db.query<{ user: string }>(sql`
    select quote_ident(r.rolname) as user from pg_roles as r
    where r.rolcanlogin and not r.rolsuper and r.rolreplication = ${may}
      and exists (select from pg_auth_members where member = r.oid and roleid = 'likewise_relay'::regrole)
    order by 1`)
  return rows.map(({ user }) => user)
}

async function alter(db: Queryable, user: string, right: 'replication' | 'noreplication'): Promise<void> {
  const statement = `alter role ${user} ${right}`
  try {
    await db.execute(raw(statement))
  } catch (error) {
    if (!(error instanceof Failure) || error.details?.['sqlstate'] !== '42501') throw error
    throw new Failure(
      'SLOT_UNUSABLE',
      `The relay's user ${user} must ${right === 'replication' ? '' : 'no longer '}have REPLICATION, and this user may not ` +
        `change that. Let a superuser run: ${statement}`,
      { cause: error },
    )
  }
}
