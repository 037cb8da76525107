import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { enqueue } from '@likewise/outbox'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { buildLog, compare, delivered } from './delivery.ts'
import { likesOf } from './load.ts'

let test: TestDatabase
beforeAll(async () => {
  test = await freshDatabase('delivery')
  await enqueue(test.db, likesOf('nowhere', { first: 1, count: 3, keys: 1 }))
})
afterAll(() => test.drop())

/** The topic as it would be with these seqs on it, all of one key. */
function topicWith(...seqs: number[]) {
  const log = buildLog()
  for (const seq of seqs) log.note({ key: '1', headers: { ce_sequence: Buffer.from(String(seq)) } })
  return compare(test.db, log)
}

describe('the check that every fault ends with', () => {
  it('finds nothing wrong where all arrived in order, and counts the copies', async () => {
    expect(await topicWith(1, 2, 1, 2, 3)).toMatchObject({
      ...delivered,
      unsettled: ['PENDING 3'],
      repeats: 2,
    })
  })
  it('finds an event that is missing', async () => {
    expect(await topicWith(1, 3)).toMatchObject({ lost: 1, outOfOrder: 0 })
  })
  it('finds a first copy behind a later event', async () => {
    expect(await topicWith(1, 3, 2, 3)).toMatchObject({ lost: 0, outOfOrder: 1, repeats: 1 })
  })
  it('finds an event that nobody committed', async () => {
    expect(await topicWith(1, 2, 3, 4)).toMatchObject({ unknown: 1 })
  })
})
