import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx } from '@likewise/database/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type Bucket, lockProduct, readBuckets, setBuckets, setCount } from './mend.ts'
import { rollUp } from './roll-up.ts'
import { applyLikes, emptyModel, nowMs } from './testing.ts'

let test: TestDatabase
beforeAll(async () => {
  test = await freshDatabase('mend')
})
afterAll(() => test.drop())
beforeEach(() => emptyModel(test.db))

const hourMs = 3_600_000
const kept = { minutesKeptHours: 25, hoursKeptDays: 3 }

const told = async (productId: bigint) =>
  (await readBuckets(test.db, [productId])).map(({ resolution, added, removed }) => [
    resolution,
    added,
    removed,
  ])

const like = (productId: number, atMs: number) => ({ productId, liked: true, atMs })

describe('a product that is put right', () => {
  it('has the buckets that are set, and no others of their time', async () => {
    const now = await nowMs(test.db)
    const old = now - 30 * hourMs
    await applyLikes(test.db, [like(1, old), like(1, old), like(1, now), like(2, old)])
    await rollUp(test.db, kept)
    await applyLikes(test.db, [like(1, old)]) // late: a minute beside its hour
    const hour = new Date(Math.floor(old / hourMs) * hourMs)
    const set: Bucket = { productId: 1n, start: hour, resolution: 'hour', added: 7n, removed: 2n }
    await test.db.tx(async (tx) => {
      await lockProduct(tx, 1n)
      await setBuckets(tx, [set])
      await setCount(tx, 1n, 6n)
      await setCount(tx, 9n, 3n)
    })
    expect((await told(1n)).toSorted()).toEqual([
      ['hour', 7n, 2n],
      ['minute', 1n, 0n],
    ])
    expect(await told(2n)).toEqual([['hour', 1n, 0n]])
    const counts = await test.db.query(
      sql`select product_id::int as id, like_count::int as n from metrics.product_metrics order by 1`,
    )
    expect(counts).toEqual([
      { id: 1, n: 6 },
      { id: 2, n: 1 },
      { id: 9, n: 3 },
    ])
  })

  it('is not rolled up meanwhile, while others are', async () => {
    const old = (await nowMs(test.db)) - 30 * hourMs
    await applyLikes(test.db, [like(1, old), like(2, old)])
    const repair = await openTx(test.db)
    await lockProduct(repair.tx, 1n)
    expect(await rollUp(test.db, kept)).toEqual({ minutes: 1, hours: 0 })
    expect([await told(1n), await told(2n)]).toEqual([[['minute', 1n, 0n]], [['hour', 1n, 0n]]])
    await repair.commit()
    expect(await rollUp(test.db, kept)).toEqual({ minutes: 1, hours: 0 })
    expect(await told(1n)).toEqual([['hour', 1n, 0n]])
  })
})
