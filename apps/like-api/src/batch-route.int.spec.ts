import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx } from '@likewise/database/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type TestApp, startTestApp } from './testing.ts'

let test: TestDatabase
let started: TestApp

beforeAll(async () => {
  test = await freshDatabase('like_batch')
  started = startTestApp(test.as('likewise_api'))
})
afterAll(async () => {
  await started.stop()
  await test.drop()
})
beforeEach(() => test.db.execute(sql`truncate catalog.likes, catalog.outbox_events`))

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const itemsOf = (users: readonly number[]) => users.map((userId) => ({ userId, productId: 100 }))
const post = (items: unknown, app = started.app) =>
  app.inject({ method: 'POST', url: '/api/likes/batch', payload: { items } as object })

interface Item {
  userId: number
  status: number
  changed?: boolean
  problem?: { type: string }
}
const itemsIn = (answer: { json(): unknown }) => (answer.json() as { items: Item[] }).items

describe('many likes in one request', () => {
  it('up to 500 of them, of the largest ids, are written with their events and answered one by one', async () => {
    const max = Number.MAX_SAFE_INTEGER
    const items = range(500).map((n) => ({ userId: max - n, productId: max }))
    const answer = await post(items)
    expect(answer.statusCode).toBe(200)
    expect(itemsIn(answer)).toEqual(items.map((item) => ({ ...item, status: 201, changed: true })))
    const [row] = await test.db.query(sql`
      select (select count(*)::int from catalog.likes) as likes, count(*)::int as events from catalog.outbox_events`)
    expect(row).toEqual({ likes: 500, events: 500 })
  })

  it('say of each whether it was new, also where one is in it twice', async () => {
    await post(itemsOf([2]))
    const answer = await post(itemsOf([1, 2, 3, 3]))
    expect(itemsIn(answer).map(({ status, changed }) => [status, changed])).toEqual([
      [201, true],
      [200, false],
      [201, true],
      [200, false],
    ])
  })

  it('fail alone where PostgreSQL refuses one', async () => {
    await test.db.execute(sql`alter table catalog.likes add constraint no_seven check (user_id <> 7)`)
    const answer = await post(itemsOf(range(20)))
    await test.db.execute(sql`alter table catalog.likes drop constraint no_seven`)
    const failed = itemsIn(answer).filter(({ status }) => status >= 400)
    expect(failed).toEqual([
      {
        userId: 7,
        productId: 100,
        status: 500,
        problem: expect.objectContaining({ type: 'urn:likewise:problem:internal-error' }) as unknown,
      },
    ])
    expect(answer.body).not.toContain('no_seven')
  })

  it('are 503 for the one whose row is locked, and done for all others', async () => {
    const hasty = startTestApp(test.as('likewise_api'), { answerWithinMs: 700 })
    const open = await openTx(test.db)
    await open.tx.execute(sql`insert into catalog.likes (user_id, product_id) values (5, 100)`)
    const answer = await post(itemsOf(range(20)), hasty.app)
    await open.rollback()
    await hasty.stop()
    expect(itemsIn(answer).map(({ status }) => status)).toEqual(range(20).map((n) => (n === 5 ? 503 : 201)))
  })

  it('are refused as a whole, with 503, where there is no room for them', async () => {
    const small = startTestApp(test.as('likewise_api'), { waitingMax: 10 })
    const answer = await post(itemsOf(range(11)), small.app)
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '1'])
    expect((await post(itemsOf(range(10)), small.app)).statusCode).toBe(200)
    await small.stop()
  })

  it.each([
    ['none', []],
    ['501', itemsOf(range(501))],
    ['no list', { userId: 1, productId: 100 }],
    ['a text for a number', [{ userId: '1', productId: 100 }]],
    ['a field too many', [{ userId: 1, productId: 100, liked: false }]],
  ])('are refused with 400: %s', async (_, items) => {
    const answer = await post(items)
    expect([answer.statusCode, answer.json()]).toMatchObject([
      400,
      { type: 'urn:likewise:problem:body-invalid' },
    ])
    expect(await test.db.query(sql`select 1 from catalog.likes`)).toEqual([])
  })
})
