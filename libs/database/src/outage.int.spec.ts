import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { sql } from './sql.ts'
import { faultyLink } from './faulty-link.ts'
import { emptyDatabase } from './testing/empty-database.ts'
import type { EmptyDatabase } from './testing/empty-database.ts'

let fresh: EmptyDatabase

beforeAll(async () => {
  fresh = await emptyDatabase(process.env['CATALOG_DATABASE_URL'])
  await fresh.connect().execute(sql`create table thing (id bigint primary key)`)
})
afterAll(() => fresh.drop())

const unavailable = { code: 'DATABASE_UNAVAILABLE', retryable: true }

async function expectOutage(work: Promise<unknown>, limitMs: number): Promise<void> {
  const startedAt = performance.now()
  await expect(work).rejects.toMatchObject(unavailable)
  expect(performance.now() - startedAt).toBeLessThan(limitMs)
}

async function eventually(check: () => Promise<void>): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    try {
      await check()
      return
    } catch {
      // Not yet.
    }
    await delay(20)
  }
  await check()
}

describe('while PostgreSQL is away', () => {
  it('nobody listens: statements, transactions and pings fail at once', async () => {
    const db = fresh.connect({ url: 'postgres://nobody@127.0.0.1:1/nowhere' })
    await expectOutage(db.query(sql`select 1`), 900)
    await expectOutage(
      db.tx((tx) => tx.query(sql`select 1`)),
      900,
    )
    await expectOutage(db.ping(), 900)
  })

  it('somebody listens and says nothing: they fail within the connect timeout', async () => {
    const silent = createServer((socket) => socket.resume()) // or it would not see that the other end closes
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const port = (silent.address() as AddressInfo).port
    const db = fresh.connect({ url: `postgres://nobody@127.0.0.1:${port}/nowhere`, connectTimeoutMs: 300 })
    await expectOutage(db.query(sql`select 1`), 800)
    await expectOutage(
      db.tx((tx) => tx.query(sql`select 1`)),
      800,
    )
    await expectOutage(db.ping(), 800)
    silent.close()
  })

  it('no free connection: they fail within the connect timeout', async () => {
    const db = fresh.connect({ poolSizeMax: 1, connectTimeoutMs: 200 })
    await db.tx(async () => {
      await expectOutage(db.query(sql`select 1`), 600)
      await expectOutage(
        db.tx((tx) => tx.query(sql`select 1`)),
        600,
      )
    })
  })

  it('the wrong database, the wrong role', async () => {
    const url = new URL(fresh.url)
    url.pathname = '/nowhere'
    await expect(fresh.connect({ url: url.href }).ping()).rejects.toThrow('database "nowhere" does not exist')
    await expect(fresh.connect({ url: url.href }).ping()).rejects.toMatchObject(unavailable)
  })
})

describe('when a connection dies', () => {
  it('in the middle of a statement, the next one works', async () => {
    const db = fresh.connect({ poolSizeMax: 1 })
    const dying = db.query(sql`select pg_terminate_backend(pg_backend_pid())`)
    await expect(dying).rejects.toMatchObject({ ...unavailable, details: { sqlstate: '57P01' } })
    await db.ping()
  })

  it('in the middle of a transaction, nothing of it stays and the next one works', async () => {
    const db = fresh.connect({ poolSizeMax: 1 })
    const dying = db.tx(async (tx) => {
      await tx.execute(sql`insert into thing values (1)`)
      const [row] = await tx.query<{ pid: number }>(sql`select pg_backend_pid() as pid`)
      await fresh.admin.query(sql`select pg_terminate_backend(${row?.pid}::int, 1000)`)
      await tx.execute(sql`insert into thing values (2)`)
    })
    await expect(dying).rejects.toMatchObject(unavailable)
    expect(await db.query(sql`select * from thing`)).toEqual([])
  })

  it('while it is idle, nobody notices', async () => {
    const db = fresh.connect({ poolSizeMax: 1 })
    const [row] = await db.query<{ pid: number }>(sql`select pg_backend_pid() as pid`)
    await fresh.admin.query(sql`select pg_terminate_backend(${row?.pid}::int, 1000)`)
    await expect(db.query(sql`select 1 as one`)).resolves.toEqual([{ one: 1 }])
  })
})

describe('when nobody asks for a while', () => {
  it('a connection is kept for the next statement, however short the limit of silence', async () => {
    const db = fresh.connect({ poolSizeMax: 1, statementTimeoutMs: 100, lockTimeoutMs: 100 })
    const backend = async () => (await db.query<{ pid: number }>(sql`select pg_backend_pid() as pid`))[0]?.pid
    const first = await backend()
    await delay(900) // the limit is 600
    expect(await backend()).toBe(first)
    await delay(900)
    expect(await backend()).toBe(first)
  })
})

describe('when the server falls silent', () => {
  it('a connection that was quiet before fails as soon as one that was not', async () => {
    const link = await faultyLink(fresh.url)
    const db = fresh.connect({
      url: link.url,
      poolSizeMax: 1,
      statementTimeoutMs: 100,
      lockTimeoutMs: 100,
      connectTimeoutMs: 300,
    })
    await db.ping()
    await delay(900)
    link.freeze()
    await expectOutage(db.query(sql`select 1`), 1_100)
    await link.stop()
  })

  it('while a connection opens, it fails at the limit, if that comes before the connect timeout', async () => {
    const link = await faultyLink(fresh.url)
    link.freeze()
    const limits = { statementTimeoutMs: 100, lockTimeoutMs: 100, connectTimeoutMs: 10_000 }
    const db = fresh.connect({ url: link.url, ...limits })
    await expectOutage(db.query(sql`select 1`), 1_100)
    await link.stop()
  })

  it('statements and transactions fail soon, and work again when it is back', async () => {
    const link = await faultyLink(fresh.url)
    const db = fresh.connect({ url: link.url, statementTimeoutMs: 300, connectTimeoutMs: 300 })
    await db.ping()
    const silent = db.tx(async (tx) => {
      await tx.execute(sql`insert into thing values (10)`)
      link.freeze()
      await tx.execute(sql`insert into thing values (11)`)
    })
    // 300 ms for the statement, 500 ms until silence is taken for death; the ROLLBACK must not wait once more.
    await expectOutage(silent, 1_300)
    await expectOutage(db.query(sql`select 1`), 1_300)
    await expectOutage(db.ping(), 1_300)
    link.heal()
    expect(await db.query(sql`select * from thing`)).toEqual([])
    await link.stop()
  })

  it('stop does not wait for it', async () => {
    const link = await faultyLink(fresh.url)
    const db = fresh.connect({ url: link.url, statementTimeoutMs: 20_000 })
    const query = expect(db.query(sql`select pg_sleep(15)::text`)).rejects.toMatchObject(unavailable)
    await eventually(async () => {
      const asleep = sql`select 1 from pg_stat_activity where query like 'select pg_sleep(15)%'`
      expect(await fresh.admin.query(asleep)).toHaveLength(1)
    })
    link.freeze()
    const startedAt = performance.now()
    await db.stop()
    await query
    expect(performance.now() - startedAt).toBeLessThan(4_000)
    await link.stop()
  })
})

describe('after a stop', () => {
  it('no connection is left, and nothing opens one again', async () => {
    const db = fresh.connect({ applicationName: 'stopped-one' })
    await db.ping()
    await db.stop()
    await expect(db.query(sql`select 1`)).rejects.toMatchObject(unavailable)
    // The server ends a session a moment after its socket was closed.
    await eventually(async () => {
      const left = sql`select 1 from pg_stat_activity where application_name = 'stopped-one'`
      expect(await fresh.admin.query(left)).toEqual([])
    })
  })
})
