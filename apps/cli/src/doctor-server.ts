import { type Database, readMigrationState, readPlainSettings, sql } from '@likewise/database'
import { type Check, fail, looked, ok, warn } from './doctor.ts'

interface Side {
  readonly side: 'catalog' | 'metrics'
  readonly variable: string
  readonly url: string
}

const versionMin = 180_000
const longMinutes = 10
const busyShare = 0.8

/** One PostgreSQL server, as the services of its side see it. */
export async function checkServer(db: Database, { side, variable, url }: Side): Promise<Check[]> {
  const name = (what: string): string => `${side}.${what}`
  const connection = await looked(name('connection'), () => checkConnection(db, { name, variable }))
  if (connection.some(({ level }) => level === 'fail')) return connection
  return [
    ...connection,
    ...(await looked(name('migrations'), () => checkMigrations(db, name('migrations'), variable))),
    ...(await looked(name('durability'), () => checkDurability(db, name('durability'), url))),
    ...(await looked(name('transactions'), () => checkTransactions(db, name('transactions')))),
    ...(await looked(name('connections'), () => checkConnections(db, name('connections')))),
  ]
}

async function checkConnection(
  db: Database,
  { name, variable }: { name: (what: string) => string; variable: string },
): Promise<Check> {
  const [server] = await db.query<{ number: number; version: string; standby: boolean }>(sql`
    select current_setting('server_version_num')::int as number, current_setting('server_version') as version,
           pg_is_in_recovery() as standby`)
  const { number = 0, version = 'unknown', standby = false } = server ?? {}
  if (standby)
    return fail(name('connection'), `${variable} leads to a standby`, `Point ${variable} at the primary.`)
  if (number < versionMin)
    return fail(name('connection'), `PostgreSQL ${version} answers`, 'Likewise needs PostgreSQL 18 or newer.')
  return ok(name('connection'), `PostgreSQL ${version} answers`)
}

async function checkMigrations(db: Database, name: string, variable: string): Promise<Check> {
  const { missing, failed, foreign } = await readMigrationState(db)
  if (failed.length > 0)
    return fail(
      name,
      `${failed.join(', ')} failed`,
      'See its error in _prisma_migrations.logs, mend it, and run `npx prisma migrate resolve`.',
    )
  if (missing.length > 0)
    return fail(name, `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not applied`, `Run npm run migrate (with ${variable}).`) // prettier-ignore
  if (foreign.length > 0)
    return warn(name, `the database is of another version: it has ${foreign.join(', ')}`, 'Use the likewise of that version.') // prettier-ignore
  return ok(name, 'all are applied')
}

/** What must be on for a commit to be there after a crash. */
async function checkDurability(db: Database, name: string, url: string): Promise<Check[]> {
  const [own] = await db.query<{ commit: string }>(
    sql`select current_setting('synchronous_commit') as commit`,
  )
  const plain = await readPlainSettings(url, ['fsync', 'full_page_writes', 'synchronous_commit'])
  const off = ['fsync', 'full_page_writes'].filter((setting) => plain.get(setting) === 'off')
  return [
    ...off.map(
      (setting) =>
      fail(name, `${setting} is off: a crash of the machine may lose likes that were answered, or all`, `alter system set ${setting} = on; select pg_reload_conf();`), // prettier-ignore
    ),
    ...(own?.commit === 'off'
      ? [fail(name, 'synchronous_commit is off for the services: a crash loses likes that were answered', 'Take synchronous_commit out of the URL (options) that the services use.')] // prettier-ignore
      : plain.get('synchronous_commit') === 'off'
        ? [warn(name, 'synchronous_commit is off for whoever does not set it: the services do, other writers may lose what they committed', 'Set it on for the server, the database and the role (alter … set synchronous_commit = on).')] // prettier-ignore
        : off.length === 0
          ? [ok(name, 'what is committed stays: fsync, full_page_writes, synchronous_commit')]
          : []),
  ]
}

async function checkTransactions(db: Database, name: string): Promise<Check> {
  const [oldest] = await db.query<{ minutes: number; pid: number; who: string }>(sql`
    select (extract(epoch from clock_timestamp() - xact_start) / 60)::int as minutes, pid, application_name as who
    from pg_stat_activity
    where backend_type = 'client backend' and xact_start < clock_timestamp() - ${longMinutes} * interval '1 minute'
    order by xact_start limit 1`)
  const [prepared] = await db.query<{ gid: string; minutes: number }>(sql`
    select gid, (extract(epoch from clock_timestamp() - prepared) / 60)::int as minutes from pg_prepared_xacts
    where prepared < clock_timestamp() - ${longMinutes} * interval '1 minute' order by prepared limit 1`)
  if (prepared)
    return warn(name, `the prepared transaction ${prepared.gid} is ${String(prepared.minutes)} minutes old`, 'Vacuum removes nothing while it stays: commit prepared, or rollback prepared.') // prettier-ignore
  if (oldest)
    return warn(name, `a transaction of ${oldest.who || 'somebody'} is open for ${String(oldest.minutes)} minutes (pid ${String(oldest.pid)})`, 'Vacuum removes nothing while it stays: let it end, or select pg_terminate_backend(pid).') // prettier-ignore
  const [own] = await db.query<{ who: string; seesAll: boolean }>(
    sql`select current_user::text as who, pg_has_role('pg_read_all_stats', 'usage') as "seesAll"`,
  )
  if (own?.seesAll !== true)
    return warn(name, 'how long those of other users are open is not to be seen', `Let the owner run: grant pg_read_all_stats to ${own?.who ?? ''};`) // prettier-ignore
  return ok(name, `none is open for more than ${String(longMinutes)} minutes`)
}

async function checkConnections(db: Database, name: string): Promise<Check> {
  const [row] = await db.query<{ used: number; most: number }>(sql`
    select sum(numbackends)::int as used, current_setting('max_connections')::int as most from pg_stat_database`)
  const { used = 0, most = 1 } = row ?? {}
  const says = `${String(used)} of ${String(most)} are in use`
  if (used < busyShare * most) return ok(name, says)
  return warn(
    name,
    says,
    'Raise max_connections, run fewer replicas, or make their pools smaller (…_POOL_SIZE).',
  )
}
