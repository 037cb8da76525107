import { type Database, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { type Http, type Problem, buildLogger, buildTelemetry } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { buildApp } from './app.ts'

const log = buildLogger({ service: 'test', level: 'silent' })
const streams = { tickMs: 50, heartbeatMs: 15_000, stuckMsMax: 30_000, streamsMax: 10 }
let test: TestDatabase
let app: Http
let statements = 0
let baseMs: number

beforeAll(async () => {
  test = await freshDatabase('read_side')
  const db: Database = {
    ...test.as('likewise_reader'),
    query: (statement) => {
      statements += 1
      return test.as('likewise_reader').query(statement)
    },
  }
  app = buildApp({ db, consumer: 'test', log, telemetry: buildTelemetry('test'), streams })
})
afterAll(async () => {
  await app.close()
  await test.drop()
})
beforeEach(async () => {
  await test.db.execute(sql`
    truncate metrics.product_metrics, metrics.product_like_windows, metrics.product_like_hours,
      metrics.product_like_days`)
  const [now] = await test.db.query<{ minute: Date }>(sql`select date_trunc('minute', now()) as minute`)
  baseMs = Number(now?.minute)
})

/** Likes and unlikes of a product in a minute of now: the one this test began in, and so many before it. */
async function store(productId: number, minutesAgo: number, added: number, removed = 0): Promise<void> {
  await test.db.execute(sql`
    insert into metrics.product_like_windows (product_id, bucket_start, added, removed)
    values (${productId}, ${minute(-minutesAgo)}::timestamptz, ${added}, ${removed})`)
  await test.db.execute(sql`
    insert into metrics.product_metrics as m (product_id, like_count) values (${productId}, ${added - removed})
    on conflict (product_id) do update set like_count = m.like_count + excluded.like_count`)
}

const get = async (path: string) => {
  const answer = await app.inject(`/api/products/${path}`)
  return { status: answer.statusCode, headers: answer.headers, json: answer.json<Record<string, unknown>>() }
}

async function refused(path: string): Promise<string[] | undefined> {
  const { status, headers, json } = await get(path)
  expect([status, json['type']]).toEqual([400, 'urn:likewise:problem:params-invalid'])
  expect(headers['content-type']).toMatch(/^application\/problem\+json/)
  return (json as unknown as Problem).errors?.map(({ field }) => field)
}

function minute(ahead: number): string {
  return new Date(baseMs + ahead * 60_000).toISOString()
}

describe('trending', () => {
  it('lists the products that gained most in the window, ties by product id, and says how long it is shared', async () => {
    await store(3, 1, 5, 1)
    await store(1, 2, 4)
    await store(2, 1, 9, 9)
    await store(4, 1, 1, 2)
    await store(5, 61, 100)
    await store(6, -2, 100)
    const before = statements
    const [whole, cut] = await Promise.all([get('trending'), get('trending?window=1h&limit=1')])
    expect(whole.json).toMatchObject({
      window: '1h',
      products: [
        { productId: 1, score: 4, added: 4, removed: 0 },
        { productId: 3, score: 4, added: 5, removed: 1 },
      ],
    })
    expect((whole.json['products'] as unknown[]).length).toBe(2)
    expect(cut.json['products']).toEqual([{ productId: 1, score: 4, added: 4, removed: 0 }])
    expect(whole.headers['cache-control']).toMatch(/^public, max-age=\d+$/)
    // how far the counts have got, and what trends
    expect(statements - before).toBe(2)
    const { from, to } = whole.json as { from: string; to: string }
    const lengthMs = Date.parse(to) - Date.parse(from)
    expect(lengthMs).toBeGreaterThanOrEqual(3_600_000)
    expect(lengthMs).toBeLessThan(3_660_000)
  })

  it.each([
    ['window=2h', 'window'],
    ['window=1h&window=5m', 'window'],
    ['limit=0', 'limit'],
    ['limit=101', 'limit'],
    ['limit=1e1', 'limit'],
    ['windows=1h', 'windows'],
  ])('refuses %s by name', async (query, field) => {
    expect(await refused(`trending?${query}`)).toEqual([field])
  })
})

describe('the history of a product', () => {
  it('has a point for every step, zeros where nothing happened, and the count at the end of each', async () => {
    await store(1, 4, 3, 1)
    await store(1, 1, 1)
    await store(2, 3, 50)
    const [from, to] = [minute(-5), minute(-1)]
    const { status, json } = await get(`1/history?from=${from}&to=${to}&step=1m`)
    expect(status).toBe(200)
    expect(json).toEqual({
      productId: 1,
      from,
      to,
      step: '1m',
      resolution: 'minute',
      countedThrough: null,
      points: [
        { start: from, added: 0, removed: 0, likeCount: 0 },
        { start: minute(-4), added: 3, removed: 1, likeCount: 2 },
        { start: minute(-3), added: 0, removed: 0, likeCount: 2 },
        { start: minute(-2), added: 0, removed: 0, likeCount: 2 },
      ],
    })
  })

  it('rounds the range outward to whole steps, of an hour unless told', async () => {
    const { json } = await get('1/history?from=2026-11-22T10:59:59Z&to=2026-11-22T13:00:00.000001%2B01:00')
    expect(json).toMatchObject({
      from: '2026-11-22T10:00:00.000Z',
      to: '2026-11-22T12:00:00.000Z',
      step: '1h',
    })
    expect((json['points'] as unknown[]).length).toBe(2)
  })

  it('has longer steps where the data is only there in hours or days, and says so', async () => {
    await test.db.execute(sql`
      insert into metrics.product_like_hours (product_id, bucket_start, added) values (1, '2026-08-01T10:00:00Z', 4)`)
    await test.db.execute(sql`
      insert into metrics.product_like_days (product_id, bucket_start, added) values (1, '2026-07-01T00:00:00Z', 6)`)
    await test.db.execute(sql`insert into metrics.product_metrics (product_id, like_count) values (1, 10)`)
    const hours = await get('1/history?from=2026-08-01T10:30:00Z&to=2026-08-01T11:10:00Z&step=5m')
    expect(hours.json).toEqual({
      productId: 1,
      from: '2026-08-01T10:00:00.000Z',
      to: '2026-08-01T12:00:00.000Z',
      step: '1h',
      resolution: 'hour',
      countedThrough: null,
      points: [
        { start: '2026-08-01T10:00:00.000Z', added: 4, removed: 0, likeCount: 10 },
        { start: '2026-08-01T11:00:00.000Z', added: 0, removed: 0, likeCount: 10 },
      ],
    })
    const days = await get('1/history?from=2026-07-01T23:00:00Z&to=2026-07-02T00:00:00Z&step=1h')
    expect(days.json).toMatchObject({
      step: '1d',
      resolution: 'day',
      points: [{ start: '2026-07-01T00:00:00.000Z', added: 6, likeCount: 6 }],
    })
  })

  it.each([
    ['', 'from'],
    ['from=2026-11-22T00:00:00Z', 'to'],
    ['from=2026-11-22&to=2026-11-23T00:00:00Z', 'from'],
    ['from=2026-11-22T00:00:00&to=2026-11-23T00:00:00Z', 'from'],
    ['from=2026-11-22T00:00:00+01:00&to=2026-11-23T00:00:00Z', 'from'],
    ['from=2026-02-30T00:00:00Z&to=2026-11-23T00:00:00Z', 'from'],
    ['from=2026-11-22T00:00:00Z&to=2026-12-31T23:59:60Z', 'to'],
    ['from=2026-11-22T00:00:00Z&to=2026-11-22T00:00:00Z', 'to'],
    ['from=2026-11-22T00:00:00Z&to=2026-11-23T01:00:01Z&step=1m', 'step'],
    ['from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z&step=2m', 'step'],
    ['from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z&page=2', 'page'],
  ])('refuses %s by name', async (query, field) => {
    expect(await refused(`1/history?${query}`)).toEqual([field])
  })

  it('of a product id that is none is refused by name', async () => {
    expect(await refused('0/history?from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z')).toEqual([
      'productId',
    ])
  })
})

describe('the count as of a moment', () => {
  it('is the one at the beginning of its minute, and says so', async () => {
    await store(1, 3, 3, 1)
    await store(1, 2, 5)
    const asOf = minute(-2)
    const { status, json } = await get(`1/metrics?asOf=${asOf.replace('00.000Z', '59.999999999Z')}`)
    expect([status, json]).toEqual([
      200,
      { productId: 1, likeCount: 2, asOf, resolution: 'minute', countedThrough: null },
    ])
  })

  it('is 0 before the first event and of a product nobody liked', async () => {
    await store(1, 3, 3)
    const asOf = '2020-01-01T00:00:00.000Z'
    for (const productId of [1, 2]) {
      const { json } = await get(`${String(productId)}/metrics?asOf=${asOf}`)
      expect(json).toEqual({ productId, likeCount: 0, asOf, resolution: 'minute', countedThrough: null })
    }
  })

  it.each(['9999-12-31T23:59:59Z', 'yesterday', '', '2026-11-22T00:00:60Z'])(
    'is refused for "%s" by name',
    async (asOf) => {
      expect(await refused(`1/metrics?asOf=${asOf}`)).toEqual(['asOf'])
    },
  )

  it('is not taken for the count of now by a slip of the pen', async () => {
    expect(await refused('1/metrics?asof=2020-01-01T00:00:00Z')).toEqual(['asof'])
  })
})
