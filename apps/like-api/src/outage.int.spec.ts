import { connectDatabase, sql } from '@likewise/database'
import {
  type FaultyLink,
  type TestDatabase,
  faultyLink,
  freshDatabase,
  urlAs,
} from '@likewise/database/testing'
import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { firstLockWaitMs } from './carry-out.ts'
import { startTestApp } from './testing.ts'

let test: TestDatabase
let link: FaultyLink

beforeAll(async () => {
  test = await freshDatabase('like_outage')
  link = await faultyLink(urlAs('likewise_api', test.url))
})
afterAll(async () => {
  await link.stop()
  await test.drop()
})

it('while PostgreSQL says nothing each like is answered 503 within a second or so; then all goes on by itself', async () => {
  const db = connectDatabase({
    url: link.url,
    poolSizeMax: 10,
    connectTimeoutMs: 700,
    statementTimeoutMs: 2_000,
    lockTimeoutMs: firstLockWaitMs,
    applicationName: 'like-outage',
  })
  const { app, stop } = startTestApp(db, { answerWithinMs: 900, waitingMax: 300 })
  let user = 0
  const timed = async () => {
    const begunMs = performance.now()
    user += 1
    const payload = { userId: user, productId: 100 }
    const { statusCode } = await app.inject({ method: 'POST', url: '/api/likes', payload })
    return { statusCode, userId: payload.userId, tookMs: performance.now() - begunMs }
  }
  expect((await timed()).statusCode).toBe(201)
  link.freeze()
  const frozenUntilMs = performance.now() + 4_000
  const answers: Awaited<ReturnType<typeof timed>>[] = []
  const client = async () => {
    while (performance.now() < frozenUntilMs) answers.push(await timed())
  }
  await Promise.all(Array.from({ length: 200 }, client))
  expect(new Set(answers.map(({ statusCode }) => statusCode))).toEqual(new Set([503]))
  expect(Math.max(...answers.map(({ tookMs }) => tookMs))).toBeLessThan(2_000)
  link.heal()
  const recoveredBy = performance.now() + 10_000
  while ((await timed()).statusCode !== 201) expect(performance.now()).toBeLessThan(recoveredBy)
  expect((await timed()).statusCode).toBe(201)
  await stop()
  await db.stop()
  // Nothing that was refused is done later; what was in flight when the link fell silent may be there.
  const [row] = await test.db.query<{ likes: number; events: number }>(sql`
    select (select count(*)::int from catalog.likes) as likes, count(*)::int as events from catalog.outbox_events`)
  expect(row?.likes).toBe(row?.events)
})
