import { connectDatabase, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, readWaiting, urlAs } from '@likewise/database/testing'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { lockModel } from './differences.ts'
import { applyLikesWithin, applyLikes, nowMs } from './testing.ts'

let test: TestDatabase
beforeEach(async () => {
  test = await freshDatabase('apply')
})
afterEach(() => test.drop())

async function waiting(count: number): Promise<void> {
  while ((await readWaiting(test.db, { event: 'relation' })).length < count) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

describe('whoever applies likes takes the tables in the order in which a switch of the model locks them', () => {
  const ways = { 'in a transaction': applyLikes, 'within a statement': applyLikesWithin }
  it.each(
    Object.entries(ways).flatMap(([name, apply]) => [
      { name, apply, known: 'anew', times: 0 },
      { name, apply, known: 'by a plan that is kept', times: 10 },
    ]),
  )('$name, $known', async ({ apply, times }) => {
    const consumer = connectDatabase({
      ...{ url: urlAs('likewise_consumer', test.url), poolSizeMax: 1, connectTimeoutMs: 5_000 },
      ...{ statementTimeoutMs: 60_000, applicationName: 'test' },
    })
    const like = { productId: 1, liked: true, atMs: Math.floor(await nowMs(test.db)) }
    for (let i = 0; i < times; i += 1) await apply(consumer, [like])

    const [other, switching] = [await openTx(test.as('likewise_consumer')), await openTx(test.db)]
    await other.tx.execute(sql`
      lock table metrics.product_metrics, metrics.product_like_windows in row exclusive mode`)
    const locked = lockModel(switching.tx)
    await waiting(1)
    const applied = apply(consumer, [like])
    await waiting(2)
    await other.commit()
    await locked
    await switching.commit()
    await applied
    await consumer.stop()
    const [row] = await test.db.query<{ likes: number }>(
      sql`select like_count::int as likes from metrics.product_metrics`,
    )
    expect(row?.likes).toBe(times + 1)
  })
})
