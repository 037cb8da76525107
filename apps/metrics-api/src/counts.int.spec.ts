import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { type Http, type Problem, buildLogger, buildTelemetry } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { buildApp } from './app.ts'

const log = buildLogger({ service: 'test', level: 'silent' })
const streams = { tickMs: 50, heartbeatMs: 15_000, stuckMsMax: 30_000, streamsMax: 10 }
const [early, late] = ['2026-11-22T09:00:00.000Z', '2026-11-22T10:00:00.000Z']
let test: TestDatabase
let app: Http

beforeAll(async () => {
  test = await freshDatabase('counts')
  app = buildApp({
    db: test.as('likewise_reader'),
    consumer: 'counter',
    log,
    telemetry: buildTelemetry('test'),
    streams,
  })
})
afterAll(async () => {
  await app.close()
  await test.drop()
})
beforeEach(async () => {
  await test.db.execute(sql`truncate metrics.product_metrics, metrics.counted_through, metrics.dead_letters`)
  for (const productId of [100, 7]) {
    await test.db.execute(sql`
      insert into metrics.product_metrics (product_id, like_count, updated_at) values (${productId}, 42, ${early}::timestamptz)`)
  }
})

/** All partitions counted through `late`, but for those of one product. */
async function countThrough(productIdBehind: number): Promise<void> {
  await test.db.execute(sql`
    insert into metrics.counted_through (consumer, topic, partition, at)
    select 'counter', 'catalog-events', p,
           case p when ${shardOf(String(productIdBehind))}::int then ${early}::timestamptz else ${late}::timestamptz end
    from generate_series(0, 11) as p`)
}

const get = (path: string, ifNoneMatch?: string) =>
  app.inject({ url: path, headers: ifNoneMatch === undefined ? {} : { 'if-none-match': ifNoneMatch } })
const change = (productId: number) =>
  test.db.execute(
    sql`update metrics.product_metrics set like_count = like_count + 1 where product_id = ${productId}`,
  )

const range = 'from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z'
const pages = [
  '/api/products/100/metrics',
  '/api/products/100/metrics?asOf=2026-11-22T09:30:00Z',
  `/api/products/100/history?${range}`,
  '/api/metrics?ids=7,100',
]

describe('an answer of counts', () => {
  it.each(pages)('is not sent again to who has it, until it changes: %s', async (page) => {
    const first = await get(page)
    const etag = String(first.headers['etag'])
    expect([first.statusCode, first.headers['cache-control']]).toEqual([200, 'no-cache'])
    await countThrough(7)
    const same = await get(page, etag)
    expect([same.statusCode, same.body, same.headers['etag']]).toEqual([304, '', etag])
    expect(same.headers['counted-through']).toBe(page.includes('ids') ? early : late)
    await change(100)
    const changed = await get(page, etag)
    expect(changed.statusCode).toBe(200)
    expect(changed.headers['etag']).not.toBe(etag)
  })

  it.each(pages)('tells how far the counts have got, in it and as a header: %s', async (page) => {
    const unknown = await get(page)
    expect(unknown.json()).toMatchObject({ countedThrough: null })
    expect(unknown.headers).not.toHaveProperty('counted-through')
    await countThrough(7)
    const known = await get(page)
    const through = page.includes('ids') ? early : late
    expect(known.json()).toMatchObject({ countedThrough: through })
    expect(known.headers['counted-through']).toBe(through)
  })

  it('of what trends tells the earliest of all products', async () => {
    await countThrough(7)
    expect((await get('/api/products/trending?window=24h')).json()).toMatchObject({ countedThrough: early })
  })
})

describe('the counts of many products', () => {
  it('come in the order asked, each with how far it is counted, also of those nobody ever liked', async () => {
    await countThrough(7)
    const { statusCode, body } = await get('/api/metrics?ids=100,9007199254740990,7')
    expect([statusCode, JSON.parse(body)]).toEqual([
      200,
      {
        countedThrough: early,
        products: [
          { productId: 100, likeCount: 42, updatedAt: early, countedThrough: late },
          { productId: 9007199254740990, likeCount: 0, updatedAt: null, countedThrough: late },
          { productId: 7, likeCount: 42, updatedAt: early, countedThrough: early },
        ],
      },
    ])
  })

  it('are told for a hundred products and no more', async () => {
    const ids = (n: number) => Array.from({ length: n }, (_, i) => 9_007_199_254_740_991 - i).join(',')
    expect((await get(`/api/metrics?ids=${ids(100)}`)).json<{ products: [] }>().products.length).toBe(100)
    expect((await get(`/api/metrics?ids=${ids(101)}`)).statusCode).toBe(400)
  })

  it.each([
    ['', 'ids'],
    ['ids=', 'ids.0'],
    ['ids=0', 'ids.0'],
    ['ids=1,x', 'ids.1'],
    ['ids=1,,2', 'ids.1'],
    ['ids=1,1', 'ids'],
    ['ids=1&ids=2', 'ids.0'],
    ['ids=9007199254740992', 'ids.0'],
    ['ids=1&id=2', 'id'],
  ])('are refused by name: %s', async (query, field) => {
    const answer = await get(`/api/metrics?${query}`)
    expect(answer.statusCode).toBe(400)
    expect(answer.json<Problem>().errors?.map((error) => error.field)).toEqual([field])
  })
})
