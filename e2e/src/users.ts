import { type Queryable, sql } from '@likewise/database'

export const usersOfServices = [
  { app: 'likewise-like-api', user: 'like_api', roles: 'likewise_api' },
  { app: 'likewise-metrics-api', user: 'metrics_api', roles: 'likewise_reader' },
  { app: 'likewise-metrics-consumer', user: 'metrics_consumer', roles: 'likewise_consumer' },
  { app: 'likewise-outbox-relay', user: 'outbox_relay', roles: 'likewise_relay' },
]

/** Who the services are to PostgreSQL, by their open connections. */
export async function readUsers(db: Queryable): Promise<unknown> {
  return db.query(sql`
    select distinct a.application_name as app, a.usename::text as user, case when r.rolsuper then 'all' else (
             select string_agg(m.roleid::regrole::text, ', ') from pg_auth_members as m where m.member = r.oid
           ) end as roles
    from pg_stat_activity as a join pg_roles as r on r.oid = a.usesysid
    where a.application_name = any (${usersOfServices.map(({ app }) => app)}::text[]) order by 1`)
}
