import { raw, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import type { Rebuild } from '@likewise/inbox'
import { rollUp, setBuckets } from '@likewise/metrics'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type World, emptied, products, same, worldOf } from './rebuild-testing.ts'

const dayMs = 86_400_000
let test: TestDatabase
let world: World

beforeAll(async () => {
  test = await freshDatabase('rebuild_compared')
})
afterAll(() => test.drop())
beforeEach(async () => {
  await emptied(test.db)
  world = worldOf(test)
})

describe('what changes after the models were compared for a switch', () => {
  const hourMs = 3_600_000
  const [old, late] = [Date.now() - 60 * hourMs, Date.now() - 100 * dayMs]
  let rebuild: Rebuild

  beforeEach(async () => {
    for (const product of products) {
      for (const atMs of [Date.now(), old, old + 60_000, late]) world.send({ product, atMs })
    }
    await world.handle()
    rebuild = await world.begin()
    await world.step(rebuild)
  })

  const isRight = async () => {
    for (const product of products) expect([product, await world.count(product)]).toEqual([product, 4])
    expect(await world.compare(await world.begin())).toEqual(same)
  }
  const change = (table: string, product: number) =>
    test.db.execute(sql`
      update metrics.${raw(table)} set added = added + 5 where ctid = (
        select min(ctid) from metrics.${raw(table)} where product_id = ${product}::bigint)`)

  it.each<[string, () => Promise<unknown>, { products: number; buckets: number }]>([
    [
      'a count',
      () => test.db.execute(sql`update metrics.product_metrics set like_count = 9 where product_id = 3`),
      { products: 1, buckets: 0 },
    ],
    [
      'the count of a product that was not there',
      () => test.db.execute(sql`insert into metrics.product_metrics (product_id, like_count) values (77, 1)`),
      { products: 1, buckets: 0 },
    ],
    ['a minute', () => change('product_like_windows', 2), { products: 0, buckets: 1 }],
    [
      'an hour, with the minutes that were rolled up into it',
      async () => {
        await rollUp(test.db, { minutesKeptHours: 48, hoursKeptDays: 90 })
        await change('product_like_hours', 2)
      },
      { products: 0, buckets: 1 },
    ],
    [
      'a minute that a repair has taken away',
      () =>
        test.db.tx(async (tx) => {
          const start = new Date(Math.floor(old / 60_000) * 60_000)
          await setBuckets(tx, [{ productId: 4n, start, resolution: 'minute', added: 0n, removed: 0n }])
        }),
      { products: 0, buckets: 1 },
    ],
  ])('is compared again, and put right: %s', async (_, meanwhile, found) => {
    expect(await world.switch(rebuild, meanwhile)).toMatchObject(found)
    await isRight()
  })

  it('is no difference where both have counted it, or a roll-up has moved it', async () => {
    const meanwhile = async () => {
      await rollUp(test.db, { minutesKeptHours: 48, hoursKeptDays: 90 })
      for (const product of [...products, 9]) world.send({ product })
      await world.handle()
      await world.step(rebuild, 1)
    }
    expect(await world.switch(rebuild, meanwhile)).toEqual(same)
    expect([await world.count(1), await world.count(9)]).toEqual([5, 1])
    expect(await world.compare(await world.begin())).toEqual(same)
  })

  it('is put right together with what differed before', async () => {
    await change('product_like_windows', 1)
    await test.db.execute(sql`delete from metrics.product_metrics where product_id = 2`)
    expect(await world.switch(rebuild, () => change('product_like_windows', 4))).toMatchObject({
      ...{ products: 1, buckets: 2 },
      counts: [{ productId: 2n, live: 0n, rebuilt: 4n }],
    })
    await isRight()
  })
})
