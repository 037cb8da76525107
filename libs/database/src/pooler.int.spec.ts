import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { pause } from '@likewise/service'
import type { Database } from './database.ts'
import { migrate } from './migrate.ts'
import { connectReplication } from './replication.ts'
import { requireSchema, withSettingsRequired } from './require-schema.ts'
import { sql } from './sql.ts'
import { type EmptyDatabase, emptyDatabase } from './testing/empty-database.ts'
import { type PgBouncer, pgBouncerMissing, startPgBouncer } from './pgbouncer.ts'
import { pgClient } from './testing.ts'

const missing = pgBouncerMissing()
const describeIfThere = missing === undefined ? describe : describe.skip
if (missing !== undefined) process.stderr.write(`Skipped: the tests of PgBouncer. ${missing}\n`)

const poolSize = 2
let fresh: EmptyDatabase
let pooler: PgBouncer
let careless: PgBouncer
let db: Database

/** What a URL that does not say so is answered. */
const toldOf =
  /^CATALOG_DATABASE_URL seems to lead through a pooler: .+\. Say so in the URL: …\?pgbouncer=true/

const withoutWord = (url: string): string => url.replace('pgbouncer=true', '')

/** In every session of the careless pooler, as a client leaves them that knows of no pooler. */
async function leaveNamedStatements(): Promise<void> {
  const client = fresh.connect({ url: withoutWord(careless.url) })
  const ids = Array.from({ length: 4 * poolSize }, (_, i) => i)
  await Promise.allSettled(ids.map((id) => client.query(sql`select ${id}::int as id, pg_sleep(0.05)::text`)))
}

describeIfThere('through PgBouncer in transaction mode', () => {
  beforeAll(async () => {
    fresh = await emptyDatabase(process.env['CATALOG_DATABASE_URL'])
    await migrate(fresh.url)
    pooler = await startPgBouncer(fresh.url, poolSize)
    careless = await startPgBouncer(fresh.url, poolSize, ['ignore_startup_parameters = options'])
    db = fresh.connect({ url: pooler.url, poolSizeMax: 8 })
    await db.execute(sql`create table thing (id bigint primary key)`)
  })
  afterAll(async () => {
    await fresh.drop()
    await Promise.all([pooler.stop(), careless.stop()])
  })

  it('more clients than connections work at once, none in the session of another', async () => {
    // Who waits for a connection of the pool waits as long as a busy machine needs.
    const patient = { connectTimeoutMs: 20_000, statementTimeoutMs: 20_000 }
    const crowd = fresh.connect({ url: pooler.url, poolSizeMax: 8, ...patient })
    const ids = Array.from({ length: 200 }, (_, i) => i + 1)
    const seen = await Promise.all(
      ids.map((id) =>
        id % 2 === 0
          ? crowd.query<{ id: bigint }>(sql`insert into thing values (${id}) returning id`)
          : crowd.tx(async (tx) => {
              await tx.execute(sql`insert into thing values (${id})`)
              return tx.query<{ id: bigint }>(sql`select id from thing where id = ${id}`)
            }),
      ),
    )
    expect(seen.flat().map(({ id }) => Number(id))).toEqual(ids)
    const { clients, servers } = await pooler.connections()
    expect(clients).toBeGreaterThan(poolSize)
    expect(servers).toBeLessThanOrEqual(poolSize)
  })

  it('every statement and transaction runs under our settings, and nobody else finds them', async () => {
    const settings = sql`
      select current_setting('TimeZone') as zone, current_setting('statement_timeout') as statement,
        current_setting('lock_timeout') as lock, current_setting('idle_in_transaction_session_timeout') as idle,
        current_setting('synchronous_commit') as durable, current_setting('jit') as jit, current_setting('application_name') as name`
    const limits = { statement: '1s', lock: '200ms', idle: '1s' }
    const wanted = { zone: 'UTC', ...limits, durable: 'on', jit: 'off', name: 'database-test' }
    expect(await db.query(settings)).toEqual([wanted])
    expect(await db.tx((tx) => tx.query(settings))).toEqual([wanted])
    expect(await db.tx((tx) => tx.query(settings), { isolation: 'Serializable' })).toEqual([wanted])
    await db.execute(sql`create table heard as ${settings}`)
    expect(await db.query(sql`select * from heard`)).toEqual([wanted])
    const other = fresh.connect({ url: pooler.url, statementTimeoutMs: 3_000, applicationName: 'other' })
    expect(await other.query(settings)).toEqual([{ ...wanted, statement: '3s', idle: '3s', name: 'other' }])
    // Whoever asks for nothing finds PostgreSQL's own, in whichever session: at once, so that each is asked.
    const strangers = await Promise.all(
      Array.from({ length: poolSize }, () => pgClient(withoutWord(pooler.url))),
    )
    const found = await Promise.all(
      strangers.map((stranger) =>
        stranger.query(`select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
          coalesce(current_setting('likewise.settings', true), '') as mark, pg_sleep(0.2)::text as slept`),
      ),
    )
    await Promise.all(strangers.map((stranger) => stranger.end()))
    const own = { statement: '0', lock: '0', mark: '', slept: '' }
    expect(found.flatMap(({ rows }): unknown[] => rows)).toEqual(strangers.map(() => own))
  })

  it('a statement that fails or takes too long is told as without it, and rolled back', async () => {
    await expect(db.execute(sql`insert into thing values (1)`)).rejects.toMatchObject({
      code: 'DATABASE_REFUSED',
      details: { sqlstate: '23505', constraint: 'thing_pkey' },
    })
    await expect(db.query(sql`select pg_sleep(5)::text`)).rejects.toMatchObject({
      code: 'DATABASE_BUSY',
      details: { sqlstate: '57014' },
    })
    const waiting = db.tx(async (tx) => {
      await tx.execute(sql`lock table thing in access exclusive mode`)
      await db.query(sql`select * from thing`)
    })
    await expect(waiting).rejects.toMatchObject({ code: 'DATABASE_BUSY', details: { sqlstate: '55P03' } })
    expect(await db.query(sql`select 1 as one`)).toEqual([{ one: 1 }])
  })

  it('a transaction that its client left open is ended by PostgreSQL, and its locks are free', async () => {
    const outcome = db.tx(
      async (tx) => {
        await tx.execute(sql`insert into thing values (1000)`)
        await pause(2_000)
        await tx.execute(sql`insert into thing values (1001)`)
      },
      { timeoutMs: 10_000 },
    )
    await expect(outcome).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
    expect(await db.query(sql`select id from thing where id >= 1000`)).toEqual([])
  })

  it('statements fail while it is killed, and go on when it is back', async () => {
    const statement = db.query(sql`select pg_sleep(0.9)::text`)
    const outcome = expect(statement).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
    await pause(100)
    await pooler.restart()
    await outcome
    await db.ping().catch(() => undefined) // connections that died with it
    expect(await db.query(sql`select 1 as one`)).toEqual([{ one: 1 }])
  })

  it('a service whose URL does not say so is told, whether options are refused or dropped', async () => {
    const start = (url: string) =>
      requireSchema(fresh.connect({ url }), { schema: 'catalog', variable: 'CATALOG_DATABASE_URL' })
    await start(pooler.url)
    await start(careless.url)
    await leaveNamedStatements()
    for (const { url } of [pooler, careless]) {
      const refused = expect(start(withoutWord(url))).rejects
      await refused.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(toldOf),
      })
    }
    await expect(async () =>
      fresh.connect({ url: `${pooler.url}&options=-c%20work_mem=7MB` }),
    ).rejects.toThrow('alter role')
  })

  it('a command whose URL does not say so is told with its first statement, of whatever kind', async () => {
    const open = (url: string) => withSettingsRequired(fresh.connect({ url }), 'CATALOG_DATABASE_URL')
    const first: ((database: Database) => Promise<unknown>)[] = [
      (database) => database.query(sql`select 1 as one`),
      (database) => database.execute(sql`insert into thing values (2000)`),
      (database) => database.tx((tx) => tx.execute(sql`insert into thing values (2000)`)),
    ]
    for (const { url } of [pooler, careless]) {
      for (const statement of first) {
        await expect(statement(open(withoutWord(url)))).rejects.toMatchObject({
          code: 'CONFIG_INVALID',
          message: expect.stringMatching(toldOf),
        })
      }
    }
    const told = open(pooler.url)
    expect(await told.query(sql`select id from thing where id = 2000`)).toEqual([])
    expect(await told.tx((tx) => tx.query(sql`select 1 as one`))).toEqual([{ one: 1 }])
    const direct = open(fresh.url)
    expect(await direct.query(sql`select 1 as one`)).toEqual([{ one: 1 }])
    const away = open('postgres://nobody@127.0.0.1:1/nowhere')
    await expect(away.query(sql`select 1`)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
  })

  it('what needs a session of its own is refused, with the variable that names PostgreSQL itself', async () => {
    for (const url of [pooler.url, careless.url, withoutWord(careless.url)])
      await expect(migrate(url)).rejects.toThrow('CATALOG_DATABASE_DIRECT_URL')
    const options = { applicationName: 'test', connectTimeoutMs: 1_000, senderTimeoutMs: 1_000 }
    await expect(connectReplication({ url: pooler.url, ...options })).rejects.toMatchObject({
      code: 'SLOT_UNUSABLE',
      message: expect.stringContaining('CATALOG_DATABASE_DIRECT_URL'),
    })
  })
})
