import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import type { ServiceRole } from './logins.ts'
import { urlOf } from './logins.ts'
import { migrate } from './migrate.ts'
import { migrationsDirDefault } from './migration-files.ts'
import { raw, sql } from './sql.ts'
import { emptyDatabase } from './testing/empty-database.ts'
import type { EmptyDatabase } from './testing/empty-database.ts'
import { type TestDatabase, freshDatabase, openTx } from './testing.ts'

const roles = {
  api: 'likewise_api',
  relay: 'likewise_relay',
  consumer: 'likewise_consumer',
  reader: 'likewise_reader',
  operator: 'likewise_operator',
} as const satisfies Record<string, ServiceRole>

type Rights = Partial<Record<keyof typeof roles, string>>

const seen = { operator: 'select' }
const model = 'select, insert, update'
const rebuilt = { operator: 'select, insert, update, delete, truncate' }
const kept = { operator: 'select, insert, update, delete' }
const auditColumns = 'actor, action, seq, event_id, partition_key, detail'
const eventColumns =
  'shard, id, aggregate_type, aggregate_id, event_type, topic, partition_key, payload, traceparent, headers, created_at'
const parkedColumns = 'reason, attempts, parked_at, detail, mark, marked_at, resolved_at, resolution'
const letterColumns = 'consumer, topic, record_key, record_time, event_id, blocks_key, parked_at, resolved_at'

/** Who may do what; whatever is not here, and whoever is not named, may nothing. …_N: each slot of a ring. */
const rights: Record<string, Rights> = {
  'catalog.likes': { api: 'select, insert, update (created_at), delete', operator: 'select' },
  'catalog.idempotency_keys': { api: 'select, insert', operator: 'select' },
  'catalog.idempotency_keys_N': { api: 'select, truncate', operator: 'select' },
  'catalog.outbox_events': {
    api: `select (id), insert (${eventColumns})`,
    relay: 'select',
    operator: 'select',
  },
  'catalog.outbox_events_N': { relay: 'select, truncate', operator: 'select' },
  'catalog.outbox_cursors': { relay: 'select, insert, delete', operator: 'select, insert' },
  'catalog.outbox_leases': {
    relay: 'select, update (owner, epoch)',
    operator: 'select, update (owner, epoch)',
  },
  'catalog.outbox_relays': { relay: 'select, insert, update (seen_until), delete', operator: 'select' },
  'catalog.outbox_meta': {
    relay: 'select, update (system_identifier, timeline, updated_at, wal_lsn)',
    operator: 'select, update (updated_at)',
  },
  'catalog.outbox_parked': {
    relay: `select, insert, update (${parkedColumns}), delete`,
    operator: 'select, update (mark, marked_at)',
  },
  'catalog.outbox_audit': { relay: `insert (${auditColumns})`, operator: `select, insert (${auditColumns})` },
  'catalog.outbox_positions': {
    relay: 'select, insert, update (next_offset, reset_at, written_at)',
    operator: 'select, update (reset_at)',
  },
  'catalog.outbox_status': seen,
  'catalog.outbox_shard': { api: 'execute' },
  'catalog.outbox_enqueue': { api: 'execute' },
  'metrics.handled_slot': { consumer: 'execute', operator: 'execute' },
  'metrics.event_handled': { consumer: 'select, insert', operator: 'select, insert, delete' },
  'metrics.event_handled_N': {
    consumer: 'select, update (handled_at), delete, truncate',
    operator: 'select',
  },
  'metrics.consumer_offsets': { consumer: model, operator: model },
  'metrics.counted_through': { consumer: model, reader: 'select', operator: 'select' },
  'metrics.product_metrics': { consumer: model, reader: 'select', ...kept },
  'metrics.product_like_windows': { consumer: `${model}, delete`, reader: 'select', ...kept },
  'metrics.product_like_hours': { consumer: `${model}, delete`, reader: 'select', ...kept },
  'metrics.product_like_days': { consumer: model, reader: 'select', ...kept },
  'metrics.dead_letters': {
    consumer: 'select, insert, update (record_offset, copied_at), delete',
    reader: `select (${letterColumns})`,
    operator: model,
  },
  'metrics.inbox_audit': {
    consumer: 'insert (actor, action, consumer, detail)',
    operator: 'select, insert (actor, action, consumer, dead_letter_id, event_id, record_key, detail)',
  },
  'metrics.rebuilds': { consumer: 'select (letters_since)', ...rebuilt },
  'metrics.rebuild_offsets': rebuilt,
  'metrics.rebuild_ids': rebuilt,
  'metrics.rebuild_counts': rebuilt,
  'metrics.rebuild_minutes': rebuilt,
  'metrics.rebuild_hours': rebuilt,
  'metrics.rebuild_days': rebuilt,
  'metrics.snapshots': { consumer: 'select (taken_at)', ...kept },
  'metrics.snapshot_offsets': kept,
  'metrics.snapshot_ids': kept,
  'metrics.snapshot_counts': kept,
  'metrics.snapshot_buckets': kept,
}

let test: TestDatabase
/** Has what everybody has. */
const nobody = `lw_nobody_${randomBytes(6).toString('hex')}`

beforeAll(async () => {
  test = await freshDatabase('roles')
  await test.db.execute(raw(`create role ${nobody}`))
})
afterAll(async () => {
  await test.db.execute(raw(`drop role ${nobody}`))
  await test.drop()
})

/** What PostgreSQL says that a role may do with each table, view, sequence and function, in all ways it may have come by it. */
async function readRights(role: string): Promise<Record<string, string>> {
  const rows = await test.db.query<{ name: string; rights: string }>(sql`
    with objects as (
      select regexp_replace(format('%s.%s', n.nspname, c.relname), '_[0-9]+$', '_N') as name, (
        select string_agg(held, ', ' order by place) from (
          select place, case
            when has_table_privilege(${role}, c.oid, verb) then verb
            when verb in ('select', 'insert', 'update', 'references') then (
              select verb || ' (' || string_agg(attname::text, ', ' order by attnum) || ')' from pg_attribute
              where attrelid = c.oid and attnum > 0 and not attisdropped
                and has_column_privilege(${role}, c.oid, attnum, verb))
          end as held
          from unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger', 'maintain'])
            with ordinality as v(verb, place)
        ) as verbs
      ) as rights
      from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
      where n.nspname in ('catalog', 'metrics') and c.relkind in ('r', 'p', 'v', 'm', 'f')
      union all
      select format('%s.%s', n.nspname, c.relname), case
        when has_sequence_privilege(${role}, c.oid, 'usage, select, update') then 'sequence' end
      from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
      where n.nspname in ('catalog', 'metrics') and c.relkind = 'S'
      union all
      select format('%s.%s', n.nspname, p.proname),
             case when has_function_privilege(${role}, p.oid, 'execute') then 'execute' end
      from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
      where n.nspname in ('catalog', 'metrics')
    )
    select name, case
      when count(distinct coalesce(rights, '')) = 1 then coalesce(min(rights), '')
      else 'not all alike: ' || string_agg(distinct coalesce(rights, 'none'), ' | ') end as rights
    from objects group by name order by name`)
  return Object.fromEntries(rows.map((row) => [row.name, row.rights]))
}

const nothing = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, '']))

describe('the rights of', () => {
  it.each(Object.entries(roles))('%s are those that its service needs, and no more', async (short, role) => {
    const found = await readRights(role)
    const decided = Object.entries(rights).map(([name, who]) => [name, who[short as keyof Rights] ?? ''])
    expect(found).toEqual({ ...nothing(Object.keys(found)), ...(Object.fromEntries(decided) as object) })
  })

  it('each table, view and function are decided: a new one without a line above fails here', async () => {
    const found = Object.keys(await readRights(nobody)).filter((name) => !name.endsWith('_seq'))
    expect(found.sort()).toEqual(Object.keys(rights).sort())
  })

  it('everybody are none', async () => {
    const found = await readRights(nobody)
    expect(found).toEqual(nothing(Object.keys(found)))
    const [schemas] = await test.db.query(sql`
      select has_schema_privilege(${nobody}, 'catalog', 'usage') as catalog,
             has_schema_privilege(${nobody}, 'metrics', 'usage') as metrics,
             has_schema_privilege(${nobody}, 'public', 'create') as public`)
    expect(schemas).toEqual({ catalog: false, metrics: false, public: false })
  })

  it('either side end at its schema, and no group can log in, make anything or be more than it is', async () => {
    const found = await test.db.query<{ role: string; schemas: string }>(sql`
      select r.rolname::text as role, concat_ws(' ',
        case when has_schema_privilege(r.oid, 'catalog', 'usage') then 'catalog' end,
        case when has_schema_privilege(r.oid, 'metrics', 'usage') then 'metrics' end,
        case when has_schema_privilege(r.oid, 'catalog', 'create') or has_schema_privilege(r.oid, 'metrics', 'create')
               or has_schema_privilege(r.oid, 'public', 'create')
               or has_database_privilege(r.oid, current_database(), 'create') then 'create' end,
        case when r.rolcanlogin or r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls
               or exists (select from pg_auth_members where member = r.oid and roleid <> 'pg_read_all_stats'::regrole)
             then 'more' end,
        case when pg_has_role(r.oid, 'pg_read_all_stats', 'usage') then 'all sessions' end) as schemas
      from pg_roles as r where r.rolname = any (${Object.values(roles)}::text[]) order by r.rolname`)
    expect(found).toEqual([
      { role: 'likewise_api', schemas: 'catalog' },
      { role: 'likewise_consumer', schemas: 'metrics' },
      { role: 'likewise_operator', schemas: 'catalog metrics all sessions' },
      { role: 'likewise_reader', schemas: 'metrics' },
      { role: 'likewise_relay', schemas: 'catalog' },
    ])
  })

  it('no function are those of its owner', async () => {
    const definers = await test.db.query(sql`
      select proname from pg_proc where prosecdef and pronamespace in ('catalog'::regnamespace, 'metrics'::regnamespace)`)
    expect(definers).toEqual([])
  })
})

describe('an operator', () => {
  it('sees how long the transactions of others are open', async () => {
    const open = await openTx(test.db)
    const [{ pid }] = (await open.tx.query(sql`select pg_backend_pid() as pid`)) as [{ pid: number }]
    const seen = await test
      .as('likewise_operator')
      .query(sql`select xact_start is not null as "isTold" from pg_stat_activity where pid = ${pid}::int`)
    await open.rollback()
    expect(seen).toEqual([{ isTold: true }])
  })
})

describe('a service that tries more', () => {
  it.each([
    ['likewise_api', 'select payload from catalog.outbox_events'],
    ['likewise_api', 'insert into catalog.outbox_cursors (shard) values (1)'],
    ['likewise_api', 'select from metrics.product_metrics'],
    ['likewise_relay', `insert into catalog.outbox_events (shard) values (1)`],
    ['likewise_relay', 'delete from catalog.outbox_events'],
    ['likewise_relay', 'select from catalog.likes'],
    ['likewise_relay', "update catalog.outbox_meta set mode = 'wal'"],
    ['likewise_consumer', 'update metrics.dead_letters set resolved_at = now()'],
    ['likewise_consumer', 'truncate metrics.product_metrics'],
    ['likewise_consumer', 'select from catalog.likes'],
    ['likewise_reader', 'select record_value from metrics.dead_letters'],
    ['likewise_reader', 'update metrics.product_metrics set like_count = 0'],
    ['likewise_operator', 'delete from catalog.likes'],
    ['likewise_operator', 'create table catalog.mine (id int)'],
    ['likewise_operator', 'select logs from public._prisma_migrations'],
  ] as const)('%s is denied: %s', async (role, statement) => {
    const tried = test.as(role).execute(raw(statement))
    // An outage to all who call: a right that slipped must not park the world.
    await expect(tried).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      details: { sqlstate: '42501' },
    })
    await expect(tried).rejects.toThrow(
      'PostgreSQL does not let this user do it (docs/security.md, Roles): permission',
    )
  })
})

describe('the migration of the roles', () => {
  const prefix = `lw${randomBytes(4).toString('hex')}_`
  const databases: EmptyDatabase[] = []
  let dir: string

  async function empty(): Promise<EmptyDatabase> {
    const made = await emptyDatabase(process.env['CATALOG_DATABASE_URL'])
    databases.push(made)
    return made
  }

  beforeAll(async () => {
    // Roles are the cluster's, and these are there: so with other names.
    dir = await mkdtemp(join(tmpdir(), 'likewise-migrations-'))
    await cp(migrationsDirDefault, dir, { recursive: true })
    const file = join(dir, '20261128000000_roles', 'migration.sql')
    await writeFile(file, (await readFile(file, 'utf8')).replaceAll('likewise_', prefix))
  })
  afterEach(async () => {
    const made = await test.db.query<{ name: string }>(
      sql`select rolname::text as name from pg_roles where starts_with(rolname, ${prefix})`,
    )
    await Promise.all(databases.splice(0).map((one) => one.drop()))
    for (const { name } of made) await test.db.execute(raw(`drop role ${name}`))
  })
  afterAll(() => rm(dir, { recursive: true }))

  it('may run in two databases of a cluster at once, which then share the roles', async () => {
    const [one, other] = [await empty(), await empty()]
    await Promise.all([one, other].map(({ url }) => migrate(url, { migrationsDir: dir })))
    for (const { connect } of [one, other]) {
      const found = await connect().query(
        sql`select has_table_privilege(${`${prefix}api`}, 'catalog.likes', 'insert') as may`,
      )
      expect(found).toEqual([{ may: true }])
    }
  })

  it('says to whoever may not make roles what to have run, and is done after that', async () => {
    const owned = await empty()
    const owner = { user: `${prefix}owner`, password: 'of-the-test' }
    await owned.admin.execute(raw(`create role ${owner.user} login password '${owner.password}'`))
    await owned.admin.execute(
      raw(`alter database ${new URL(owned.url).pathname.slice(1)} owner to ${owner.user}`),
    )
    const migrating = () => migrate(urlOf(owned.url, owner), { migrationsDir: dir })
    const said = await migrating().then(String, (error: unknown) => (error as Error).message)
    expect(said).toMatch(
      /^Migration 20261128000000_roles failed: \S+ may not make roles \(CREATEROLE\), and these are/,
    )
    const wanted = /Let a user who may run: (.*); and migrate again\.$/.exec(said)?.[1] ?? ''
    await owned.admin.execute(raw(wanted))
    expect(await migrating()).toEqual({ applied: expect.arrayContaining(['20261128000000_roles']) })
  })
})
