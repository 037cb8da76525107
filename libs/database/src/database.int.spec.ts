import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import type { Database } from './database.ts'
import { arrayOf, join, raw, sql } from './sql.ts'
import { emptyDatabase } from './testing/empty-database.ts'
import type { EmptyDatabase } from './testing/empty-database.ts'

let fresh: EmptyDatabase
let db: Database

beforeAll(async () => {
  fresh = await emptyDatabase(process.env['CATALOG_DATABASE_URL'])
  db = fresh.connect()
  await db.execute(
    sql`create table thing (id bigint primary key, weight int constraint heavy check (weight < 9))`,
  )
})
afterAll(() => fresh.drop())

const countOf = async (id: number) => {
  const [row] = await db.query<{ count: bigint }>(sql`select count(*) from thing where id = ${id}`)
  return row?.count
}

describe('statements', () => {
  it('nest, bind arrays, and bring int8 back as bigint', async () => {
    const where = sql`where n = any(${[1n, 2n]}::bigint[]) or n in (${join([5, 6])})`
    const rows = await db.query(
      sql`select n from ${raw('generate_series(1::bigint, 9)')} as n ${where} order by n`,
    )
    expect(rows).toEqual([{ n: 1n }, { n: 2n }, { n: 5n }, { n: 6n }])
  })

  it('take a long list as one parameter, whatever its texts hold', async () => {
    const texts = [
      'plain',
      '',
      'NULL',
      '"',
      '\\',
      '\\"',
      'a,b',
      '{}',
      '{"x"}',
      ' a ',
      "it's",
      'äß✓',
      '\n\t',
      '$1',
      'a\\nb',
    ]
    const [row] = await db.query(sql`
      select ${arrayOf(texts)}::text[] as texts, ${arrayOf([1, -2n, 9007199254740991])}::bigint[] as numbers,
             ${arrayOf(['1', null])}::int[] as some, ${arrayOf([])}::uuid[] as none`)
    expect(row).toEqual({ texts, numbers: [1n, -2n, 9007199254740991n], some: [1, null], none: [] })
  })

  it('say how many rows they touched', async () => {
    expect(await db.execute(sql`insert into thing select generate_series(101, 103)`)).toBe(3)
  })

  it('run in UTC, with the limits and the durability that were asked for', async () => {
    const [settings] = await db.query(sql`
      select current_setting('TimeZone') as zone, current_setting('statement_timeout') as statement,
        current_setting('lock_timeout') as lock, current_setting('idle_in_transaction_session_timeout') as idle,
        current_setting('synchronous_commit') as durable, current_setting('jit') as jit, current_setting('application_name') as name`)
    const limits = { statement: '1s', lock: '200ms', idle: '1s' }
    expect(settings).toEqual({ zone: 'UTC', ...limits, durable: 'on', jit: 'off', name: 'database-test' })
  })

  it('keep their limits when the URL has options of its own', async () => {
    const url = new URL(fresh.url)
    url.searchParams.set('options', '-c work_mem=7MB')
    const [settings] = await fresh.connect({ url: url.href }).query(sql`
      select current_setting('work_mem') as memory, current_setting('statement_timeout') as statement`)
    expect(settings).toEqual({ memory: '7MB', statement: '1s' })
  })

  it('are prepared once per connection, but never through a pooler', async () => {
    const url = new URL(fresh.url)
    const prepared = async (database: Database) => {
      for (const n of [1, 2, 3]) await database.query(sql`select ${n}::int`)
      await database.execute(sql`select 1; select 2`) // nothing bound: several are allowed
      const [row] = await database.query<{ n: bigint }>(sql`select count(*) as n from pg_prepared_statements`)
      return row?.n
    }
    expect(await prepared(fresh.connect({ url: url.href, poolSizeMax: 1 }))).toBe(1n)
    url.searchParams.set('pgbouncer', 'true')
    expect(await prepared(fresh.connect({ url: url.href, poolSizeMax: 1 }))).toBe(0n)
  })

  it('are refused with the constraint that refused them', async () => {
    await db.execute(sql`insert into thing values (1, 1)`)
    await expect(db.execute(sql`insert into thing values (1, 1)`)).rejects.toMatchObject({
      code: 'DATABASE_REFUSED',
      details: { sqlstate: '23505', constraint: 'thing_pkey' },
    })
    await expect(db.execute(sql`insert into thing values (2, 10)`)).rejects.toMatchObject({
      code: 'DATABASE_REFUSED',
      details: { sqlstate: '23514', constraint: 'heavy' },
    })
  })

  it('ask for a migration where a table is missing', async () => {
    const query = db.query(sql`select * from nowhere`)
    await expect(query).rejects.toMatchObject({
      code: 'DATABASE_NOT_MIGRATED',
      details: { sqlstate: '42P01' },
    })
    await expect(query).rejects.toThrow('npm run migrate')
  })

  it('are cancelled by the server when they take too long', async () => {
    const query = db.query(sql`select pg_sleep(5)::text`)
    await expect(query).rejects.toMatchObject({ code: 'DATABASE_BUSY', details: { sqlstate: '57014' } })
  })
})

describe('transactions', () => {
  it('commit what the work returns and roll back what it throws', async () => {
    expect(await db.tx(async (tx) => tx.execute(sql`insert into thing values (10)`))).toBe(1)
    const bug = new RangeError('not the database’s')
    const failing = db.tx(async (tx) => {
      await tx.execute(sql`insert into thing values (11)`)
      throw bug
    })
    await expect(failing).rejects.toBe(bug)
    expect([await countOf(10), await countOf(11)]).toEqual([1n, 0n])
  })

  it('fail when a statement failed inside and nobody looked, instead of committing nothing in silence', async () => {
    const hidden = db.tx(async (tx) => {
      await tx.execute(sql`insert into thing values (12)`)
      await tx.execute(sql`insert into thing values (12)`).catch(() => 'never mind')
    })
    await expect(hidden).rejects.toMatchObject({ details: { sqlstate: '23505' } })
    expect(await countOf(12)).toBe(0n)
  })

  it('go on after a rollback to a savepoint', async () => {
    await db.tx(async (tx) => {
      await tx.execute(sql`insert into thing values (13)`)
      await tx.execute(sql`savepoint before`)
      await tx.execute(sql`insert into thing values (13)`).catch(() => 'expected')
      await tx.execute(sql`rollback to savepoint before`)
    })
    expect(await countOf(13)).toBe(1n)
  })

  it('tell a deadlock and a write conflict as busy', async () => {
    const slow = fresh.connect({ lockTimeoutMs: 4_000, statementTimeoutMs: 4_000 })
    const cross = (mine: number, other: number) =>
      slow.tx(async (tx) => {
        await tx.query(sql`select pg_advisory_xact_lock(${mine}::bigint)::text`)
        await delay(50)
        await tx.query(sql`select pg_advisory_xact_lock(${other}::bigint)::text`)
      })
    const outcomes = await Promise.allSettled([cross(1, 2), cross(2, 1)])
    const reasons = outcomes.flatMap((outcome) =>
      outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
    )
    expect(reasons).toMatchObject([{ code: 'DATABASE_BUSY', details: { sqlstate: '40P01' } }])
    const race = (id: number) =>
      db.tx(
        async (tx) => {
          await tx.query(sql`select count(*) from thing`)
          await delay(50)
          await tx.execute(sql`insert into thing values (${id})`)
        },
        { isolation: 'Serializable' },
      )
    await expect(Promise.all([race(20), race(21)])).rejects.toMatchObject({
      code: 'DATABASE_BUSY',
      details: { sqlstate: '40001' },
    })
  })

  it('tell a lock that is not to be had in time as busy', async () => {
    const waiting = db.tx(async (tx) => {
      await tx.execute(sql`lock table thing in access exclusive mode`)
      await db.query(sql`select * from thing`)
    })
    await expect(waiting).rejects.toMatchObject({ code: 'DATABASE_BUSY', details: { sqlstate: '55P03' } })
  })

  it('end when their time is over', async () => {
    const late = db.tx(
      async (tx) => {
        await tx.execute(sql`insert into thing values (30)`)
        await delay(300)
        await tx.query(sql`select 1`)
      },
      { timeoutMs: 150 },
    )
    await expect(late).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
    expect(await countOf(30)).toBe(0n)
  })

  it('that somebody left open do not swallow the next user of their connection', async () => {
    const single = fresh.connect({ poolSizeMax: 1 })
    await single.execute(sql`begin`)
    await single.execute(sql`insert into thing values (40)`)
    await expect(single.tx(() => Promise.reject(new RangeError('undo')))).rejects.toThrow('undo')
    expect(await countOf(40)).toBe(1n)
  })
})
