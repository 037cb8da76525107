import { randomBytes, randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { encode } from '@likewise/events'
import type { IncomingBatch, IncomingRecord } from '@likewise/kafka'
import { type Telemetry, buildLogger, buildTelemetry } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { buildConsumer } from './consumer.ts'

const dayMs = 86_400_000
const createdAt = '2024-11-22T09:14:05.402817Z'
const log = buildLogger({ service: 'test', level: 'silent' })
const stopping = new AbortController().signal
let test: TestDatabase
let telemetry: Telemetry
let onBatch: (batch: IncomingBatch) => Promise<bigint | undefined>

beforeAll(async () => {
  test = await freshDatabase('consumer')
})
afterAll(() => test.drop())
beforeEach(async () => {
  await test.db.execute(sql`truncate metrics.product_metrics, metrics.product_like_windows`)
  telemetry = buildTelemetry('test')
  const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }
  onBatch = buildConsumer({
    db: test.as('likewise_consumer'),
    consumer: `test-${randomUUID()}`,
    horizon,
    transactionsAtOnceMax: 3,
    log,
    telemetry,
  })
})

function idNow(): string {
  const hex = Date.now().toString(16).padStart(12, '0')
  const random = randomBytes(8).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(4, 16)}`
}

function record(offset: number, productId: number, liked = true, userId = offset + 1): IncomingRecord {
  const type = liked ? 'catalog.like.added.v1' : 'catalog.like.removed.v1'
  const data = { userId, productId, createdAt }
  const { key, value, headers } = encode({ type, id: idNow(), source: '/test', time: createdAt, data })
  return { offset: BigInt(offset), key, value: Buffer.from(value), headers, timeMs: Date.now() }
}

const batch = (records: IncomingRecord[], partition = 0): IncomingBatch => ({
  topic: 'catalog-events',
  partition,
  records,
  isFirst: false,
  logEnd: 1_000n,
  stopping,
  gotOn: () => undefined,
})

/** The like counts; those of the minutes are the same, always. */
async function counts(): Promise<Record<number, number>> {
  const rows = await test.db.query<{ id: bigint; count: bigint; net: bigint }>(sql`
    select product_id as id, like_count as count,
           (select coalesce(sum(added - removed), 0)::bigint from metrics.product_like_windows as w
            where w.product_id = m.product_id) as net
    from metrics.product_metrics as m`)
  for (const { count, net } of rows) expect(net).toBe(count)
  return Object.fromEntries(rows.map(({ id, count }) => [Number(id), Number(count)]))
}

describe('the consumer', () => {
  it('counts two likes of one product with the same createdAt as two', async () => {
    await onBatch(batch([record(0, 100), record(1, 100)]))
    expect(await counts()).toEqual({ 100: 2 })
  })

  it('counts a like once when its event is delivered three times', async () => {
    const records = [record(0, 100), record(1, 101), record(2, 100, false, 1)]
    for (let delivery = 0; delivery < 3; delivery += 1) await onBatch(batch(records))
    expect(await counts()).toEqual({ 100: 0, 101: 1 })
  })

  it('counts a like once in its minute, and an unlike apart from it, when both are delivered three times (I2)', async () => {
    const records = [record(0, 100), record(1, 100, false, 1), record(2, 100, true, 1)]
    for (let delivery = 0; delivery < 3; delivery += 1) await onBatch(batch(records))
    const windows = await test.db.query(sql`
      select product_id::int as id, bucket_start as at, added::int, removed::int from metrics.product_like_windows`)
    expect(windows).toEqual([{ id: 100, at: new Date('2024-11-22T09:14:00Z'), added: 2, removed: 1 }])
  })

  it('never clamps: an unlike that comes before its like takes the count to -1 for a moment', async () => {
    await onBatch(batch([record(0, 100, false)]))
    expect(await counts()).toEqual({ 100: -1 })
    await onBatch(batch([record(1, 100)]))
    expect(await counts()).toEqual({ 100: 0 })
  })

  it('counts right with many partitions at once that share products', async () => {
    const partitions = Array.from({ length: 8 }, (_, p) =>
      batch(
        Array.from({ length: 40 }, (_item, i) => record(i, 1 + ((i * (p + 1)) % 7))),
        p,
      ),
    )
    await Promise.all(partitions.map(onBatch))
    const recount: Record<number, number> = {}
    for (const { records } of partitions) {
      for (const { key } of records) recount[Number(key)] = (recount[Number(key)] ?? 0) + 1
    }
    expect(await counts()).toEqual(recount)
  })

  it('ends at the recount, whatever the history and however it is cut, repeated and delivered late', async () => {
    const step = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.boolean())
    const cuts = fc.array(fc.tuple(fc.nat(30), fc.nat(30)), { maxLength: 6 })
    let partition = 100
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), cuts, async (steps, deliveries) => {
        await test.db.execute(sql`truncate metrics.product_metrics, metrics.product_like_windows`)
        partition += 1
        const records = steps.map(([productId, liked], i) => record(i, productId, liked))
        // A broker never passes over a record it has not delivered: each delivery begins at or before the furthest end.
        let end = 0
        for (const [from, length] of deliveries) {
          const start = Math.min(from, end)
          await onBatch(batch(records.slice(start, start + length), partition))
          end = Math.max(end, Math.min(records.length, start + length))
        }
        await onBatch(batch(records.slice(end), partition))
        const recount: Record<number, number> = {}
        for (const [id, liked] of steps) recount[id] = (recount[id] ?? 0) + (liked ? 1 : -1)
        expect(await counts()).toEqual(recount)
      }),
      { numRuns: 25 },
    )
  })

  it('tells in its telemetry what became of every record', async () => {
    const again = record(0, 100)
    const broken = { ...record(2, 300), value: Buffer.from('{') }
    const foreign = { ...record(3, 100), headers: { ce_type: 'catalog.price.changed.v1' } }
    await onBatch(batch([again, { ...again, offset: 1n }, broken, foreign]))
    await onBatch(batch([foreign, record(4, 200)]))
    const text = await telemetry.text()
    for (const [result, count] of Object.entries({
      handled: 2,
      duplicate: 1,
      parked: 1,
      foreign: 1,
      skipped: 1,
    })) {
      expect(text).toContain(`likewise_inbox_records_total{result="${result}"} ${String(count)}\n`)
    }
  })
})
