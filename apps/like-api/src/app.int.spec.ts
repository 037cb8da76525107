import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, readWaiting } from '@likewise/database/testing'
import { type LikeEvent, decode, envelopeOf, shardOf } from '@likewise/events'
import { type Http, pause } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type TestApp, startTestApp } from './testing.ts'

let test: TestDatabase
let started: TestApp
let app: Http

beforeAll(async () => {
  test = await freshDatabase('like_api')
  started = startTestApp(test.as('likewise_api'))
  app = started.app
})
afterAll(async () => {
  await started.stop()
  await test.drop()
})
beforeEach(() => test.db.execute(sql`truncate catalog.likes, catalog.outbox_events`))

const post = (userId: number, productId: number, headers: Record<string, string> = {}) =>
  app.inject({ method: 'POST', url: '/api/likes', payload: { userId, productId }, headers })
const put = (userId: number, productId: number) =>
  app.inject({ method: 'PUT', url: `/api/products/${String(productId)}/likes/${String(userId)}` })
const unlike = (userId: number, productId: number) =>
  app.inject({ method: 'DELETE', url: `/api/products/${String(productId)}/likes/${String(userId)}` })

interface Row {
  shard: number
  topic: string
  aggregateType: string
  aggregateId: string
  eventType: string
  partitionKey: string
  payload: string
  traceparent: string | null
  headers: null
  id: string
  seq: string
  createdAt: string
}

const outbox = async (): Promise<Row[]> =>
  (
    await test.db.query<Record<string, string>>(sql`
      select shard::text, topic, aggregate_type as "aggregateType", aggregate_id as "aggregateId",
             event_type as "eventType", partition_key as "partitionKey", payload::text as payload, traceparent,
             headers, id::text as id, seq::text as seq,
             to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "createdAt"
      from catalog.outbox_events order by outbox_events.seq`)
  ).map((row) => ({ ...row, shard: Number(row['shard']) }) as unknown as Row)

/** What a consumer would read of the outbox. */
async function events(): Promise<LikeEvent[]> {
  return (await outbox()).map((row) => {
    const decoded = decode(envelopeOf(row, '/like-api'))
    if (decoded.kind !== 'event') throw new Error(JSON.stringify(decoded))
    return decoded.event
  })
}

const likes = async (): Promise<[number, number][]> =>
  (
    await test.db.query<{ userId: bigint; productId: bigint }>(sql`
      select user_id as "userId", product_id as "productId" from catalog.likes order by 1, 2`)
  ).map((row) => [Number(row.userId), Number(row.productId)])

describe('liking a product', () => {
  it('answers 201 the first time and 200 when the like was there, by POST and by PUT alike', async () => {
    for (const [user, like] of [
      [1, post],
      [2, put],
    ] as const) {
      const [first, second] = [await like(user, 100), await like(user, 100)]
      expect([first.statusCode, first.json()]).toEqual([
        201,
        { userId: user, productId: 100, liked: true, changed: true },
      ])
      expect([second.statusCode, second.json()]).toEqual([
        200,
        { userId: user, productId: 100, liked: true, changed: false },
      ])
    }
    expect(await likes()).toEqual([
      [1, 100],
      [2, 100],
    ])
    expect(await events()).toHaveLength(2)
  })

  it('writes one event in the same transaction, and none when nothing changed', async () => {
    await post(7, 100)
    const [row, ...others] = await outbox()
    expect(others).toEqual([])
    expect(row).toMatchObject({
      shard: shardOf('100'),
      topic: 'catalog-events',
      aggregateType: 'product',
      aggregateId: '100',
      eventType: 'catalog.like.added.v1',
      partitionKey: '100',
      traceparent: null,
    })
    await post(7, 100)
    await put(7, 100)
    expect(await outbox()).toEqual([row])
  })

  it('tells in the event exactly when the like was made, to the microsecond', async () => {
    await post(7, 100)
    const [like] = await test.db.query<{ at: string }>(
      sql`select to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at from catalog.likes`,
    )
    const [row] = await outbox()
    expect(row?.payload).toBe(`{"userId":7,"productId":100,"createdAt":"${String(like?.at)}"}`)
    expect((await events())[0]?.data.createdAt).toBe(like?.at)
    expect(row?.createdAt).toBe(like?.at)
  })

  it('takes the smallest and the largest ids there are', async () => {
    const max = Number.MAX_SAFE_INTEGER
    expect((await post(1, max)).json()).toMatchObject({ productId: max, changed: true })
    expect((await put(max, 1)).json()).toMatchObject({ userId: max, changed: true })
    expect((await unlike(max, 1)).json()).toMatchObject({ userId: max, changed: true })
    expect((await events()).map(({ data }) => [data.userId, data.productId])).toEqual([
      [1, max],
      [max, 1],
      [max, 1],
    ])
  })

  it('carries the trace of the caller into the outbox, and leaves out what is no trace', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    await post(1, 100, { traceparent })
    await post(2, 100, { traceparent: `${traceparent}'; drop table catalog.likes; --` })
    await post(3, 100, { traceparent: `ff${traceparent.slice(2)}` })
    expect((await outbox()).map((row) => row.traceparent)).toEqual([traceparent, null, null])
  })
})

describe('taking a like back', () => {
  it('answers 200, says whether there was one, and writes an event only then', async () => {
    await post(1, 100)
    const [first, second] = [await unlike(1, 100), await unlike(1, 100)]
    expect([first.statusCode, first.json()]).toEqual([
      200,
      { userId: 1, productId: 100, liked: false, changed: true },
    ])
    expect([second.statusCode, second.json()]).toEqual([
      200,
      { userId: 1, productId: 100, liked: false, changed: false },
    ])
    expect(await likes()).toEqual([])
    expect((await events()).map(({ type }) => type)).toEqual([
      'catalog.like.added.v1',
      'catalog.like.removed.v1',
    ])
  })

  it('touches no other user and no other product', async () => {
    for (const [user, product] of [
      [1, 100],
      [2, 100],
      [1, 101],
    ] as const)
      await post(user, product)
    await unlike(1, 100)
    expect(await likes()).toEqual([
      [1, 101],
      [2, 100],
    ])
  })
})

describe('asking for a like', () => {
  it('is answered from the write side: it is there as soon as it was answered, and gone as soon as it was taken back', async () => {
    const ask = async () => (await app.inject('/api/products/100/likes/1')).json<{ liked: boolean }>()
    expect(await ask()).toEqual({ userId: 1, productId: 100, liked: false })
    await post(1, 100)
    expect(await ask()).toEqual({ userId: 1, productId: 100, liked: true })
    await unlike(1, 100)
    expect(await ask()).toEqual({ userId: 1, productId: 100, liked: false })
  })
})

describe('at the same moment', () => {
  it('of many equal likes one is new', async () => {
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, i) => (i % 2 === 0 ? post : put)(1, 100)),
    )
    expect(answers.map(({ statusCode }) => statusCode).sort()).toEqual([
      ...Array.from({ length: 11 }, () => 200),
      201,
    ])
    expect(await events()).toHaveLength(1)
  })

  it('likes and unlikes of one key end as the last event says, and the events take turns', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: 2, maxLength: 12 }), async (steps) => {
        await test.db.execute(sql`truncate catalog.likes, catalog.outbox_events`)
        const answers = await Promise.all(steps.map((liked) => (liked ? put : unlike)(1, 100)))
        expect(answers.every(({ statusCode }) => statusCode < 300)).toBe(true)
        const types = (await events()).map(({ type }) => type)
        const turns = types.map((_, i) => (i % 2 === 0 ? 'catalog.like.added.v1' : 'catalog.like.removed.v1'))
        expect(types).toEqual(turns)
        expect((await likes()).length).toBe(types.length % 2)
        expect(answers.filter((one) => one.json<{ changed: boolean }>().changed)).toHaveLength(types.length)
      }),
      { numRuns: 15 },
    )
  })

  it('a like that waits for an unlike of the same key comes after it', async () => {
    await post(1, 100)
    const open = await openTx(test.db)
    await open.tx.execute(sql`delete from catalog.likes where user_id = 1 and product_id = 100`)
    const waiting = put(1, 100)
    while ((await readWaiting(test.db)).length === 0) await pause(10)
    await open.commit()
    expect((await waiting).statusCode).toBe(201)
    expect(await likes()).toEqual([[1, 100]])
  })
})
