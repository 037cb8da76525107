import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { shardOf } from '@likewise/events'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { buildCountedThrough, readCountedThrough } from './counted-through.ts'
import { idAt } from './testing.ts'

const scope = { consumer: 'test', topic: 'catalog-events' }
let test: TestDatabase

beforeAll(async () => {
  test = await freshDatabase('counted_through')
})
afterAll(() => test.drop())
beforeEach(async () => {
  await test.db.execute(sql`truncate metrics.counted_through, metrics.consumer_offsets, metrics.dead_letters`)
})

/** A topic of so many partitions whose logs end there. */
const logsOf = (ends: readonly number[]) =>
  ends.map((end, partition) => ({ partition, start: 0n, end: BigInt(end) }))
const empty = Array.from({ length: 12 }, () => 0)

async function mark(partition: number, next: number): Promise<void> {
  await test.db.execute(sql`
    insert into metrics.consumer_offsets (consumer, topic, partition, next_offset)
    values (${scope.consumer}, ${scope.topic}, ${partition}::int, ${next}::bigint)
    on conflict (consumer, topic, partition) do update set next_offset = excluded.next_offset`)
}

async function park(key: string, parkedAt: string, more: { time?: string; id?: string } = {}): Promise<void> {
  await test.db.execute(sql`
    insert into metrics.dead_letters
      (consumer, topic, partition, record_offset, record_key, record_time, event_id, reason, detail, blocks_key, parked_at)
    values (${scope.consumer}, ${scope.topic}, 0, (select count(*) from metrics.dead_letters), ${key},
            ${more.time ?? null}::timestamptz, ${more.id ?? null}::uuid, 'failed', '', true, ${parkedAt}::timestamptz)`)
}

async function nowMs(): Promise<number> {
  const [row] = await test.db.query<{ ms: number }>(
    sql`select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
  )
  return row?.ms ?? Number.NaN
}

const ms = (text: string | null): number => (text === null ? Number.NaN : Date.parse(text))

describe('how far the counts have got', () => {
  it('is not known before a consumer has said so', async () => {
    const through = await readCountedThrough(test.as('likewise_reader'), scope, ['100'])
    expect([through.all, through.of('100')]).toEqual([null, null])
  })

  it('is now where nothing waits, by the clock of the database', async () => {
    const before = await nowMs()
    await buildCountedThrough(test.as('likewise_consumer'), scope, async () => logsOf(empty))()
    const through = await readCountedThrough(test.as('likewise_reader'), scope, ['100'])
    expect(ms(through.of('100'))).toBeGreaterThanOrEqual(Math.floor(before))
    expect(ms(through.of('100'))).toBeLessThanOrEqual(await nowMs())
    expect(through.all).toBe(through.of('100'))
  })

  it('is held back by a stuck partition for its own products, and for the whole', async () => {
    const ends = [...empty]
    const stuck = shardOf('100')
    const note = buildCountedThrough(test.as('likewise_consumer'), scope, async () => logsOf(ends))
    await note()
    const first = await readCountedThrough(test.as('likewise_reader'), scope, ['100'])
    ends[stuck] = 5
    await mark(stuck, 3)
    await note()
    // what is newer by less than half a second is left aside, as if another consumer had just said it
    await test.db.execute(sql`update metrics.counted_through set at = at - interval '10 s'`)
    await note()
    const other = ['1', '2', '3'].find((key) => shardOf(key) !== stuck) ?? ''
    const through = await readCountedThrough(test.as('likewise_reader'), scope, ['100', other])
    expect(ms(through.of('100'))).toBe(ms(first.of('100')) - 10_000)
    expect(ms(through.of(other))).toBeGreaterThan(ms(first.of('100')))
    expect(through.all).toBe(through.of('100'))
    await mark(stuck, 5)
    await note()
    const healed = await readCountedThrough(test.as('likewise_reader'), scope, ['100'])
    expect(ms(healed.of('100'))).toBeGreaterThan(ms(through.of(other)))
  })

  it('is not known while one partition never was', async () => {
    const ends = [...empty]
    ends[4] = 1
    await buildCountedThrough(test.as('likewise_consumer'), scope, async () => logsOf(ends))()
    const keys = Array.from({ length: 50 }, (_, i) => String(i + 1))
    const through = await readCountedThrough(test.as('likewise_reader'), scope, keys)
    expect(through.all).toBe(null)
    for (const key of keys) expect(through.of(key) === null).toBe(shardOf(key) === 4)
  })

  it('takes all partitions of a shard where the topic has a multiple, and all there are where it has not', async () => {
    const key = '100'
    const ends = Array.from({ length: 24 }, () => 0)
    ends[shardOf(key) + 12] = 1
    await buildCountedThrough(test.as('likewise_consumer'), scope, async () => logsOf(ends))()
    expect((await readCountedThrough(test.as('likewise_reader'), scope, [key])).of(key)).toBe(null)
    await test.db.execute(sql`truncate metrics.counted_through`)
    const seven = Array.from({ length: 7 }, (_, i) => (i === 6 ? 1 : 0))
    await buildCountedThrough(test.as('likewise_consumer'), scope, async () => logsOf(seven))()
    expect((await readCountedThrough(test.as('likewise_reader'), scope, [key])).of(key)).toBe(null)
  })

  it('of a key that is parked is the time of its first dead letter, until that is resolved', async () => {
    await buildCountedThrough(test.as('likewise_consumer'), scope, async () => logsOf(empty))()
    const made = Date.parse('2026-11-22T08:00:00.250Z')
    await park('100', '2026-11-22T09:00:00Z', { time: '2026-11-22T08:30:00Z', id: idAt(made) })
    await park('100', '2026-11-22T09:10:00Z')
    const parked = await readCountedThrough(test.as('likewise_reader'), scope, ['100', '101'])
    expect(parked.of('100')).toBe('2026-11-22T08:00:00.250Z')
    expect(ms(parked.of('101'))).toBeGreaterThan(Date.parse('2026-11-22T10:00:00Z'))
    expect((await readCountedThrough(test.as('likewise_reader'), scope)).all).toBe('2026-11-22T08:00:00.250Z')
    await test.db.execute(sql`update metrics.dead_letters set resolved_at = now(), resolution = 'redriven'`)
    const free = await readCountedThrough(test.as('likewise_reader'), scope, ['100'])
    expect(free.of('100')).toBe(parked.of('101'))
  })

  it('of another consumer is its own', async () => {
    await buildCountedThrough(test.as('likewise_consumer'), scope, async () => logsOf(empty))()
    expect(
      (await readCountedThrough(test.as('likewise_reader'), { ...scope, consumer: 'other' }, ['100'])).of(
        '100',
      ),
    ).toBe(null)
  })
})
