import { type Database, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, pgClient } from '@likewise/database/testing'
import {
  type Http,
  type Problem,
  type Telemetry,
  buildLogger,
  buildTelemetry,
  listen,
} from '@likewise/service'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { type StreamLimits, buildApp } from './app.ts'
import { type StreamClient, connectStream } from './testing.ts'

const log = buildLogger({ service: 'test', level: 'silent' })
const closing: (() => unknown)[] = []
let test: TestDatabase
beforeAll(async () => {
  test = await freshDatabase('stream')
})
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})
afterAll(() => test.drop())

interface Server {
  app: Http
  telemetry: Telemetry
  statements: () => number
  open: (productId: number | string, lastEventId?: string) => Promise<StreamClient>
}

async function serve(limits: Partial<StreamLimits> = {}): Promise<Server> {
  let statements = 0
  const db: Database = {
    ...test.as('likewise_reader'),
    query: (statement) => {
      statements += 1
      return test.as('likewise_reader').query(statement)
    },
  }
  const telemetry = buildTelemetry('test')
  const streams = { tickMs: 5, heartbeatMs: 15_000, stuckMsMax: 30_000, streamsMax: 50, ...limits }
  const app = buildApp({ db, consumer: 'test', log, telemetry, streams })
  closing.push(() => app.close())
  const address = await listen(app, { host: '127.0.0.1', port: 0, variable: 'TEST' })
  return {
    app,
    telemetry,
    statements: () => statements,
    async open(productId, lastEventId) {
      const client = await connectStream(
        `${address}/api/products/${String(productId)}/metrics/stream`,
        lastEventId === undefined ? {} : { 'last-event-id': lastEventId },
      )
      closing.push(() => client.close())
      return client
    },
  }
}

async function eventually(check: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 15_000
  while (!(await check())) {
    if (performance.now() > deadlineMs) throw new Error('It never came.')
    await test.db.query(sql`select 1`)
  }
}

const add = (productId: number, likes: number) =>
  test.db.execute(sql`
    insert into metrics.product_metrics as m (product_id, like_count, updated_at)
    values (${productId}, ${likes}, clock_timestamp())
    on conflict (product_id) do update set like_count = m.like_count + excluded.like_count,
      updated_at = excluded.updated_at`)

const openStreams = async (telemetry: Telemetry): Promise<number> =>
  Number(/likewise_metrics_streams (\d+)/.exec(await telemetry.text())?.[1])

describe('a live stream', () => {
  it('begins with the metrics of now, then tells each client the changes of its product', async () => {
    await add(1, 41)
    const { open } = await serve()
    const [one, same, other] = [await open(1), await open(1), await open(2)]
    expect(one.status).toBe(200)
    expect(one.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
    const first = await one.next()
    expect(first).toMatchObject({ event: 'metrics', data: { productId: 1, likeCount: 41 } })
    expect(await same.next()).toEqual(first)
    expect(await other.next()).toEqual({
      event: 'metrics',
      id: '0-0',
      data: { productId: 2, likeCount: 0, updatedAt: null, countedThrough: null },
    })
    await add(1, 1)
    for (const client of [one, same]) {
      const changed = await client.next()
      expect(changed.data).toMatchObject({ productId: 1, likeCount: 42 })
      expect(changed.id).not.toBe(first.id)
    }
    await add(2, 1)
    expect((await other.next()).data).toMatchObject({ productId: 2, likeCount: 1 })
    expect([one.pending(), same.pending(), other.pending()]).toEqual([0, 0, 0])
  })

  it('tells a client that comes back the metrics only if they changed meanwhile', async () => {
    await add(10, 5)
    const { open } = await serve()
    const first = await open(10)
    const { id } = await first.next()
    first.close()
    const unchanged = await open(10, id)
    const stranger = await open(10, 'of another server')
    expect((await stranger.next()).data).toMatchObject({ likeCount: 5 })
    await add(10, 1)
    expect((await unchanged.next()).data).toMatchObject({ likeCount: 6 })
    const changed = await open(10, id)
    expect((await changed.next()).data).toMatchObject({ likeCount: 6 })
  })

  it('asks the database twice per tick for all clients, and not at all while nobody watches', async () => {
    const { open, statements, telemetry } = await serve({ tickMs: 20 })
    const begunMs = performance.now()
    const clients = await Promise.all(Array.from({ length: 30 }, (_, i) => open(100 + (i % 10))))
    await Promise.all(clients.map((client) => client.next()))
    await add(105, 1)
    await clients[5]?.next()
    expect(statements()).toBeLessThanOrEqual(2 * ((performance.now() - begunMs) / 20 + 1))
    for (const client of clients) client.close()
    await eventually(async () => (await openStreams(telemetry)) === 0)
    const before = statements()
    const waitedMs = performance.now()
    await eventually(() => performance.now() - waitedMs > 200)
    expect(statements() - before).toBeLessThanOrEqual(2)
  })

  it('has a heartbeat while nothing changes', async () => {
    const { open } = await serve({ heartbeatMs: 20 })
    const client = await open(1)
    expect([await client.nextComment(), await client.nextComment()]).toEqual(['heartbeat', 'heartbeat'])
  })

  it('is refused with 503 and Retry-After above the limit, and taken again when one has left', async () => {
    const { open, telemetry } = await serve({ streamsMax: 2 })
    const [first] = [await open(1), await open(1)]
    const refused = await open(1)
    expect([refused.status, refused.headers['retry-after']]).toEqual([503, '1'])
    expect(refused.headers['content-type']).toMatch(/^application\/problem\+json/)
    await refused.ended
    expect(JSON.parse(refused.body())).toMatchObject({ type: 'urn:likewise:problem:too-many-streams' })
    first.close()
    await eventually(async () => (await openStreams(telemetry)) === 1)
    expect((await open(1)).status).toBe(200)
  })

  it('ends in order when the server stops, at once', async () => {
    const { open, app } = await serve()
    const clients = await Promise.all([open(1), open(2), open(3)])
    await Promise.all(clients.map((client) => client.next()))
    const begunMs = performance.now()
    await app.close()
    expect(performance.now() - begunMs).toBeLessThan(5_000)
    expect(await Promise.all(clients.map(({ ended }) => ended))).toEqual([true, true, true])
  })

  it('stays open while the database is away, says that it is stale, and goes on when it is back', async () => {
    await add(20, 7)
    const { open, app } = await serve({ heartbeatMs: 20 })
    const client = await open(20)
    const fresh = await client.next()
    const name = new URL(test.url).pathname.slice(1)
    const admin = await pgClient(String(process.env['CATALOG_DATABASE_URL']))
    try {
      await admin.query(`alter database ${name} allow_connections false`)
      await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name])
      expect(await client.next()).toEqual({ event: 'stale', id: undefined, data: { productId: 20 } })
      await client.nextComment()
      const late = await open(20)
      expect((await late.next()).event).toBe('stale')
      expect((await app.inject('/livez')).statusCode).toBe(200)
      await admin.query(`alter database ${name} allow_connections true`)
      expect(await client.next()).toEqual(fresh)
      expect(await late.next()).toEqual(fresh)
    } finally {
      await admin.query(`alter database ${name} allow_connections true`)
      await admin.end()
    }
  })

  it.each(['0', '9007199254740992', 'x'])('of the product id %s is refused by name', async (id) => {
    const { app } = await serve()
    const answer = await app.inject(`/api/products/${id}/metrics/stream`)
    expect(answer.statusCode).toBe(400)
    expect(answer.json<Problem>().errors?.map(({ field }) => field)).toEqual(['productId'])
  })

  it('is not opened by HEAD', async () => {
    const { app, telemetry } = await serve()
    expect((await app.inject({ method: 'HEAD', url: '/api/products/1/metrics/stream' })).statusCode).toBe(404)
    expect(await openStreams(telemetry)).toBe(0)
  })
})
