import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { withPulse } from './pulse.ts'
import { sql } from './sql.ts'
import { emptyDatabase } from './testing/empty-database.ts'
import type { EmptyDatabase } from './testing/empty-database.ts'
import { faultyLink } from './faulty-link.ts'

let fresh: EmptyDatabase
beforeAll(async () => {
  fresh = await emptyDatabase(process.env['CATALOG_DATABASE_URL'])
})
afterAll(() => fresh.drop())

const unavailable = { code: 'DATABASE_UNAVAILABLE', retryable: true }
const limits = { poolSizeMax: 4, connectTimeoutMs: 800, statementTimeoutMs: 4_000, lockTimeoutMs: 4_000 }

it('when PostgreSQL falls silent, what waits and what comes fails within a second, and works again after', async () => {
  const link = await faultyLink(fresh.url)
  const db = withPulse(fresh.connect({ url: link.url, ...limits }))
  await db.query(sql`select 1`)
  link.freeze()
  const begunMs = performance.now()
  const statements = Array.from({ length: 200 }, () =>
    expect(db.query(sql`select 1`)).rejects.toMatchObject(unavailable),
  )
  const transaction = expect(db.tx((tx) => tx.query(sql`select 1`))).rejects.toMatchObject(unavailable)
  await Promise.all([...statements, transaction])
  // 0.9 s by its own clock; a busy machine turns it late.
  expect(performance.now() - begunMs).toBeLessThan(1_500)
  const laterMs = performance.now()
  await expect(db.execute(sql`select 1`)).rejects.toMatchObject(unavailable)
  expect(performance.now() - laterMs).toBeLessThan(100)
  link.heal()
  let isBack = false
  for (let tries = 0; tries < 100 && !isBack; tries += 1) {
    isBack = await db.query(sql`select 1`).then(
      () => true,
      () => false,
    )
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  expect(isBack).toBe(true)
  await db.stop()
  await link.stop()
})

it('a statement that is slow while PostgreSQL answers others is waited for', async () => {
  const db = withPulse(fresh.connect(limits))
  expect(await db.query(sql`select 1 as one, pg_sleep(1.5)::text`)).toMatchObject([{ one: 1 }])
  await db.stop()
})

it('what PostgreSQL itself refuses is told as it is', async () => {
  const db = withPulse(fresh.connect(limits))
  await expect(db.query(sql`select 1 / 0`)).rejects.toMatchObject({ code: 'DATABASE_REFUSED' })
  await db.stop()
})
