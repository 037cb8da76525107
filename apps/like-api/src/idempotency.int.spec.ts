import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, readWaiting } from '@likewise/database/testing'
import { pause } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { purgeKeys } from './idempotency-purge.ts'
import { type TestApp, startTestApp } from './testing.ts'

let test: TestDatabase
let [one, other]: TestApp[] = []

beforeAll(async () => {
  test = await freshDatabase('idempotency')
  ;[one, other] = [startTestApp(test.as('likewise_api')), startTestApp(test.as('likewise_api'))]
})
afterAll(async () => {
  await Promise.all([one!.stop(), other!.stop()])
  await test.drop()
})
beforeEach(() =>
  test.db.execute(sql`truncate catalog.likes, catalog.outbox_events, catalog.idempotency_keys`),
)

async function post(key: string, body: { userId: number; productId: number }, app = one) {
  const headers = { 'idempotency-key': key }
  const answer = await app!.app.inject({ method: 'POST', url: '/api/likes', payload: body, headers })
  return { status: answer.statusCode, body: answer.json<Record<string, unknown>>() }
}
const unlike = (userId: number, productId: number) =>
  one!.app.inject({ method: 'DELETE', url: `/api/products/${productId}/likes/${userId}` })

const count = async (table: 'likes' | 'outbox_events' | 'idempotency_keys') => {
  const [row] = await test.db.query<{ n: number }>(
    {
      likes: sql`select count(*)::int as n from catalog.likes`,
      outbox_events: sql`select count(*)::int as n from catalog.outbox_events`,
      idempotency_keys: sql`select count(*)::int as n from catalog.idempotency_keys`,
    }[table],
  )
  return row?.n
}

const like = { userId: 1, productId: 100 }

describe('a like with an Idempotency-Key', () => {
  it('has the same answer again and one effect, on every API process', async () => {
    const first = await post('"a"', like)
    expect(first).toEqual({ status: 201, body: { ...like, liked: true, changed: true } })
    expect(await post('"a"', like)).toEqual(first)
    expect(await post('"a"', like, other)).toEqual(first)
    expect(await count('outbox_events')).toBe(1)
  })

  it('has it also after the like was taken back, and does not like again', async () => {
    const first = await post('"a"', like)
    await unlike(1, 100)
    expect(await post('"a"', like)).toEqual(first)
    expect(await count('likes')).toBe(0)
  })

  it('repeats that nothing was changed', async () => {
    await post('"a"', like)
    const second = await post('"b"', like)
    expect(second).toMatchObject({ status: 200, body: { changed: false } })
    await unlike(1, 100)
    expect(await post('"b"', like)).toEqual(second)
  })

  it('is refused with 422 when the key stands for another body', async () => {
    await post('"a"', like)
    for (const app of [one, other]) {
      expect(await post('"a"', { userId: 1, productId: 101 }, app)).toMatchObject({
        status: 422,
        body: { type: 'urn:likewise:problem:idempotency-key-reused' },
      })
    }
    expect(await count('likes')).toBe(1)
  })

  it('is not kept from another user by the same key', async () => {
    await post('"a"', like)
    expect(await post('"a"', { userId: 2, productId: 101 })).toMatchObject({ status: 201 })
  })

  it('means the same key with quotes and without, with what is escaped in them', async () => {
    await post('"a\\"b"', like)
    await post('c', { userId: 1, productId: 101 })
    expect(await post('"a\\"b"', like)).toMatchObject({ status: 201 })
    expect(await post('"c"', { userId: 1, productId: 101 })).toMatchObject({ status: 201 })
    const keys = await test.db.query(
      sql`select idempotency_key as key from catalog.idempotency_keys order by 1`,
    )
    expect(keys).toEqual([{ key: 'a"b' }, { key: 'c' }])
  })

  it.each(['', '""', '"a', 'a"b c', '"a", "b"', `"${'x'.repeat(300)}"`, '"é"', '"\u007f"'])(
    'is refused with 400 for the key %j',
    async (key) => {
      expect(await post(key, like)).toMatchObject({
        status: 400,
        body: { errors: [{ field: 'idempotency-key' }] },
      })
      expect(await count('likes')).toBe(0)
    },
  )
})

describe('the same key twice in the same moment', () => {
  it('is 409 for the second, in one process', async () => {
    const answers = await Promise.all([
      post('"a"', like),
      post('"a"', like),
      post('"a"', { ...like, productId: 101 }),
    ])
    expect(answers.map(({ status }) => status)).toEqual([201, 409, 409])
    expect(answers[1].body['type']).toBe('urn:likewise:problem:idempotency-key-in-flight')
    expect(await count('likes')).toBe(1)
  })

  it('is one effect in two processes: the other is told 409, or what the first was', async () => {
    for (let round = 0; round < 30; round += 1) {
      const key = `"round-${round}"`
      const products = [1_000 + round, 2_000 + round] as const
      const answers = await Promise.all([
        post(key, { userId: 1, productId: products[0] }, one),
        post(key, { userId: 1, productId: products[1] }, other),
      ])
      const statuses = answers.map(({ status }) => status).sort()
      expect([
        [201, 409],
        [201, 422],
      ]).toContainEqual(statuses)
      expect(await count('likes')).toBe(round + 1)
    }
    expect(await count('idempotency_keys')).toBe(30)
  })

  it('leaves its neighbours in the batch alone', async () => {
    const open = await openTx(test.db)
    await open.tx.execute(sql`
      insert into catalog.idempotency_keys (user_id, idempotency_key, day, slot, product_id, changed)
      select 1, 'a', d, d % 4, 55, true from floor(extract(epoch from now()) / 86400) as d(d)`)
    const users = Array.from({ length: 30 }, (_, i) => i + 1)
    const answers = Promise.all(users.map((userId) => post('"a"', { userId, productId: 100 })))
    while ((await readWaiting(test.db)).length === 0) await pause(5)
    await open.commit()
    const statuses = (await answers).map(({ status }) => status)
    expect([409, 422]).toContain(statuses[0])
    expect(new Set(statuses.slice(1))).toEqual(new Set([201]))
    expect(await count('likes')).toBe(29)
  })
})

describe('old keys', () => {
  const age = (days: number) =>
    test.db.execute(
      sql`update catalog.idempotency_keys set day = day - ${days}::int, slot = (day - ${days}::int) % 4`,
    )

  it('are known for a whole day and forgotten on the day after, purged or not', async () => {
    await post('"a"', like)
    await unlike(1, 100)
    await age(1)
    expect(await post('"a"', like)).toMatchObject({ status: 201, body: { changed: true } })
    expect(await count('likes')).toBe(0)
    await age(1)
    await post('"a"', like)
    expect(await count('likes')).toBe(1)
  })

  it('leave by a whole slot, and nothing goes that may be asked for', async () => {
    await post('"today"', like)
    expect(await purgeKeys(test.as('likewise_api'))).toBeUndefined()
    await age(1)
    await post('"next day"', like)
    expect(await purgeKeys(test.as('likewise_api'))).toBeUndefined()
    await age(1)
    expect(await purgeKeys(test.as('likewise_api'))).toEqual(expect.any(Number))
    const left = await test.db.query(sql`select idempotency_key as key from catalog.idempotency_keys`)
    expect(left).toEqual([{ key: 'next day' }])
  })

  it('stay while somebody uses their slot, and go later', async () => {
    await post('"a"', like)
    await age(2)
    const open = await openTx(test.db)
    await open.tx.query(sql`select 1 from catalog.idempotency_keys`)
    expect(await purgeKeys(test.as('likewise_api'))).toBeUndefined()
    await open.commit()
    expect(await purgeKeys(test.as('likewise_api'))).toEqual(expect.any(Number))
  })
})
