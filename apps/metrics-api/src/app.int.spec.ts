import { type Database, connectDatabase, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { type Http, type Problem, buildLogger, buildTelemetry } from '@likewise/service'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { buildApp } from './app.ts'

const log = buildLogger({ service: 'test', level: 'silent' })
const build = (db: Database): Http =>
  buildApp({ db, consumer: 'test', log, telemetry: buildTelemetry('test'), streams })
const streams = { tickMs: 50, heartbeatMs: 15_000, stuckMsMax: 30_000, streamsMax: 10 }
let test: TestDatabase
let app: Http

beforeAll(async () => {
  test = await freshDatabase('metrics_api')
  app = build(test.as('likewise_reader'))
})
afterAll(async () => {
  await app.close()
  await test.drop()
})

const read = (productId: number | string) => app.inject(`/api/products/${String(productId)}/metrics`)

async function store(productId: number, likeCount: number, at: string): Promise<void> {
  await test.db.execute(sql`
    insert into metrics.product_metrics (product_id, like_count, updated_at)
    values (${productId}, ${likeCount}, ${at}::timestamptz)`)
}

describe('the like count of a product', () => {
  it('is 0 and has no time while nobody ever liked it', async () => {
    const answer = await read(1)
    expect([answer.statusCode, answer.json()]).toEqual([
      200,
      { productId: 1, likeCount: 0, updatedAt: null, countedThrough: null },
    ])
  })

  it('is what the consumer counted, with the time of its last change in UTC', async () => {
    await store(100, 42, '2026-11-22T10:00:00.123456+02')
    const answer = await read(100)
    expect(answer.headers['content-type']).toMatch(/^application\/json/)
    expect(answer.json()).toEqual({
      productId: 100,
      likeCount: 42,
      updatedAt: '2026-11-22T08:00:00.123Z',
      countedThrough: null,
    })
  })

  it('is shown as it is when an unlike came before its like: below zero for a moment', async () => {
    await store(101, -1, '2026-11-22T10:00:00Z')
    expect((await read(101)).json()).toMatchObject({ likeCount: -1 })
  })

  it('is told for the largest product id there is', async () => {
    await store(Number.MAX_SAFE_INTEGER, 7, '2026-11-22T10:00:00Z')
    expect((await read(Number.MAX_SAFE_INTEGER)).json()).toMatchObject({
      productId: Number.MAX_SAFE_INTEGER,
      likeCount: 7,
    })
  })
})

describe('a product id that is none', () => {
  it.each(['0', '-1', '1.5', '9007199254740992', 'abc', '%00', '1e3', '01', "1'--", '%EF%BC%91'])(
    'is refused by name: %s',
    async (id) => {
      const answer = await read(id)
      expect(answer.statusCode).toBe(400)
      expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
      const problem = answer.json<Problem>()
      expect(problem.type).toBe('urn:likewise:problem:params-invalid')
      expect(problem.errors?.map((error) => error.field)).toEqual(['productId'])
    },
  )
})

describe('while the database is away', () => {
  it('answers 503 with Retry-After, fast, names no host, and stays alive', async () => {
    const url = new URL(test.url)
    url.port = '1'
    const options = {
      poolSizeMax: 2,
      connectTimeoutMs: 500,
      statementTimeoutMs: 500,
      applicationName: 'test',
    }
    const db = connectDatabase({ url: url.href, ...options })
    const cut = build(db)
    const began = performance.now()
    const answer = await cut.inject('/api/products/100/metrics')
    expect(performance.now() - began).toBeLessThan(2_000)
    expect(answer.json()).toMatchObject({ status: 503, type: 'urn:likewise:problem:database-unavailable' })
    expect(answer.headers['retry-after']).toBe('1')
    expect(answer.body).not.toContain(url.hostname)
    expect((await cut.inject('/readyz')).statusCode).toBe(503)
    expect((await cut.inject('/livez')).statusCode).toBe(200)
    await cut.close()
    await db.stop()
  })
})
