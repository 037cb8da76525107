import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { sql } from '@likewise/database'
import { topics } from '@likewise/events'
import { handleBatch } from '@likewise/inbox'
import { applyToProductMetrics } from '@likewise/metrics'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { type TopicRecord, buildTopicLog, compare, exact } from './effects.ts'
import { likeRecord } from './load.ts'
import { noteSteps, readModel } from './read-model.ts'

const horizon = { dedupHorizonMs: 86_400_000, futureMaxMs: 86_400_000 }
const product = 7
let test: TestDatabase
let consumer = ''
beforeAll(async () => {
  test = await freshDatabase('effects')
  await noteSteps(test.db)
})
afterAll(() => test.drop())

function recordAt(offset: number, productId = product): TopicRecord & { timeMs: number } {
  const { key, value, headers } = likeRecord(offset + 1, productId)
  const bytes = Buffer.from(value ?? '')
  return { partition: 0, offset: BigInt(offset), key, value: bytes, headers, timeMs: Date.now() }
}
const broken = (offset: number) => ({ ...recordAt(offset), value: Buffer.from('{') })

/** Handles them as the consumer does, in batches of these sizes. */
async function handle(records: readonly (TopicRecord & { timeMs: number })[], sizes = [records.length]) {
  consumer = `test-${String(Math.random())}`
  await test.db.execute(
    sql`truncate metrics.product_metrics, metrics.product_like_windows, metrics.event_handled`,
  )
  const scope = { consumer, topic: topics.catalogEvents, partition: 0 }
  let from = 0
  for (const size of sizes) {
    const batch = records.slice(from, (from += size))
    await handleBatch(test.db, { scope, records: batch, horizon, work: applyToProductMetrics })
  }
}

async function found(records: readonly TopicRecord[], committed: bigint | null = BigInt(records.length)) {
  const log = buildTopicLog()
  for (const record of records) log.note(record)
  const end = BigInt(records.length)
  return compare(log, await readModel(test.db, consumer, [{ partition: 0, end, committed }]))
}

const records = Array.from({ length: 6 }, (_, offset) => recordAt(offset, product + (offset % 2)))

describe('the check that every fault of the consumer ends with', () => {
  it('finds nothing wrong where each event had its effect once, and counts the copies', async () => {
    const copied = [...records, { ...records[0]!, offset: 6n }]
    await handle(copied, [2, 5])
    expect(await found(copied)).toEqual({ ...exact, events: 6, handled: 6, repeats: 1 })
  })

  it('names what is parked, and finds nothing else wrong where its key waits behind it', async () => {
    const waiting = [recordAt(0), broken(1), recordAt(2), recordAt(3, 8)]
    await handle(waiting, [3, 1])
    const parked = ['behind_parked 1', 'not_json 1']
    expect(await found(waiting)).toEqual({ ...exact, events: 3, handled: 2, repeats: 0, parked })
  })

  it('finds an event that had no effect: without its mark, and with it', async () => {
    await handle(records.slice(0, 5))
    expect(await found(records)).toMatchObject({
      lost: 1,
      miscounted: [expect.anything()],
      unread: [expect.anything()],
    })
    await handle(records)
    await test.db.execute(
      sql`update metrics.product_metrics set like_count = 2 where product_id = ${product}::bigint`,
    )
    expect(await found(records)).toMatchObject({ ...exact, miscounted: ['7: 2 instead of 1'] })
  })

  it('finds an effect that came twice, in the counts and in the minutes', async () => {
    await handle(records)
    await test.db.execute(sql`update metrics.product_like_windows set added = added * 2`)
    await test.db.execute(sql`update metrics.product_metrics set like_count = like_count * 2`)
    const twice = await found(records)
    expect(twice).toMatchObject({
      lost: 0,
      unknown: 0,
      miscounted: ['7: 2 instead of 1', '8: 6 instead of 3'],
    })
    expect(twice.misplaced.length).toBeGreaterThan(0)
  })

  it('finds an effect of an event that is not on the topic', async () => {
    await handle(records)
    expect(await found(records.slice(0, 5), 6n)).toMatchObject({ unknown: 1, lost: 0 })
  })

  it('finds a bad record that is kept nowhere', async () => {
    const bad = [recordAt(0), broken(1)]
    await handle(bad)
    await test.db.execute(sql`delete from metrics.dead_letters where consumer = ${consumer}`)
    expect(await found(bad)).toMatchObject({ ...exact, lost: 1 })
  })

  it('finds an event that overtook a parked one of its key', async () => {
    const overtaken = [recordAt(0), recordAt(1), recordAt(2)]
    await handle(overtaken)
    const parked = [recordAt(0), broken(1), overtaken[2]!]
    await test.db.execute(sql`
      insert into metrics.dead_letters (consumer, topic, partition, record_offset, record_key, record_headers, reason,
        detail, attempts, blocks_key)
      values (${consumer}, ${topics.catalogEvents}, 0, 1, ${String(product)}, '{}', 'not_json', '', 1, true)`)
    expect((await found(parked)).overtaken).toBe(1)
  })

  it('finds an event that had its effect before an earlier one of its key', async () => {
    const [early, late] = [recordAt(0), recordAt(1)]
    const swapped = [
      { ...late, offset: 0n },
      { ...early, offset: 1n },
    ]
    await handle(swapped, [1, 1])
    expect(await found(swapped)).toEqual({ ...exact, events: 2, handled: 2, repeats: 0, outOfOrder: 1 })
  })

  it('finds what was handled and not told to the broker', async () => {
    await handle(records)
    expect((await found(records, 4n)).unread).toEqual(['0: marked 6, committed 4 of 6'])
  })
})
