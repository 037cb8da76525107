import { openTx } from '@likewise/database/testing'
import { shardCount, shardOf } from '@likewise/events'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { lockMarksOf } from './effects.ts'
import { recordOf } from './letter-testing.ts'
import { type Bench, freshBenches, topic } from './redrive-testing.ts'

let test: Awaited<ReturnType<typeof freshBenches>>
let bench: Bench

beforeAll(async () => {
  test = await freshBenches('effects')
})
afterAll(() => test.drop())
beforeEach(() => {
  bench = test.bench()
})

const key = '1'
const ofKey = shardOf(key)
const like = recordOf({ offset: 0, product: Number(key) })

describe('whoever holds the marks of a key', () => {
  it.each([
    ['twelve partitions', 12, ofKey],
    ['twice as many', 24, ofKey + shardCount],
    ['partitions that shards share', 3, (ofKey + 1) % 3],
  ])(
    'of %s keeps its batches waiting, also where nothing was handled yet',
    async (_, partitions, partition) => {
      const holder = await openTx(test.as('likewise_operator'))
      await lockMarksOf(holder.tx, { consumer: bench.consumer, topic }, { key, partitions })
      const batch = bench.handle([like], partition)
      await bench.somebodyWaits()
      expect(await bench.applied()).toEqual([])
      await holder.commit()
      expect(await batch).toMatchObject({ handled: 1 })
    },
  )

  it('lets the batches of other shards pass', async () => {
    const holder = await openTx(test.as('likewise_operator'))
    await lockMarksOf(holder.tx, { consumer: bench.consumer, topic }, { key, partitions: 12 })
    expect(await bench.handle([like], (ofKey + 1) % shardCount)).toMatchObject({ handled: 1 })
    await holder.commit()
  })
})
