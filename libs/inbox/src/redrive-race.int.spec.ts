import { sql } from '@likewise/database'
import { explained, openTx } from '@likewise/database/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { readBlockedKeys } from './dead-letters.ts'
import { recordOf, withoutEnd } from './letter-testing.ts'
import { lockMark } from './offsets.ts'
import { type Bench, applyAs, freshBenches, topic } from './redrive-testing.ts'

let test: Awaited<ReturnType<typeof freshBenches>>
let bench: Bench

beforeAll(async () => {
  test = await freshBenches('redrive_race')
})
afterAll(() => test.drop())
beforeEach(() => {
  bench = test.bench()
})

const like = (offset: number, product = 1) => recordOf({ offset, product })
const broken = (offset: number, product = 1) => recordOf({ offset, product }, withoutEnd)

/** An effect that holds its transaction open until told. */
function held() {
  let go: () => void = () => undefined
  let reached: () => void = () => undefined
  const told = new Promise<void>((resolve) => (go = resolve))
  const begun = new Promise<void>((resolve) => (reached = resolve))
  const work: ReturnType<typeof applyAs> = async (tx, events) => {
    await applyAs(bench.consumer)(tx, events)
    reached()
    await told
  }
  return { work, begun, go }
}

describe('a redrive and a batch at the same time', () => {
  it('in one partition: the redrive waits, and takes along what the batch has parked (I4)', async () => {
    await bench.handle([broken(0), like(1)])
    await bench.mend(0)
    const { work, begun, go } = held()
    const batch = bench.handle([like(2), like(3, 2)], 0, work)
    await begun
    const redriven = bench.redrive({ key: '1' })
    await bench.somebodyWaits()
    go()
    await batch
    expect((await redriven)[0]).toMatchObject({ redriven: 3, waiting: 0 })
    expect(await bench.applied()).toEqual([3, 0, 1, 2])
  })

  it('in one partition: the batch waits, and finds its key free (I4)', async () => {
    await bench.handle([broken(0), like(1)])
    await bench.mend(0)
    const { work, begun, go } = held()
    const redriven = bench.redrive({ key: '1' }, { work })
    await begun
    const batch = bench.handle([like(2)])
    await bench.somebodyWaits()
    go()
    await redriven
    expect(await batch).toMatchObject({ handled: 1, parked: [] })
    expect(await bench.applied()).toEqual([0, 1, 2])
  })

  it('in a partition that was added later: what the batch parks behind the key goes along, and nothing waits for nothing', async () => {
    await bench.handle([broken(0), like(1)])
    await bench.mend(0)
    const { work, begun, go } = held()
    const batch = bench.handle([like(2), like(3, 2)], 12, work)
    await begun
    const redriven = bench.redrive({ key: '1' })
    await bench.somebodyWaits()
    go()
    await batch
    expect((await redriven)[0]).toMatchObject({ redriven: 3, waiting: 0 })
    expect(await bench.applied()).toEqual([3, 0, 1, 2])
  })

  it('in a partition that was added later: a batch that comes second waits, and finds its key free', async () => {
    await bench.handle([broken(0), like(1)])
    await bench.mend(0)
    const { work, begun, go } = held()
    const redriven = bench.redrive({ key: '1' }, { work })
    await begun
    const batch = bench.handle([like(2)], 12)
    await bench.somebodyWaits()
    go()
    await redriven
    expect(await batch).toMatchObject({ handled: 1, parked: [] })
    expect(await bench.applied()).toEqual([0, 1, 2])
  })

  it('waits for whoever holds the mark of its partition: a replay, a zombie, a switch of the model (I10)', async () => {
    await bench.handle([broken(0), like(1)])
    await bench.mend(0)
    const holder = await openTx(bench.db)
    await lockMark(holder.tx, { consumer: bench.consumer, topic, partition: 0 })
    const redriven = bench.redrive({ key: '1' })
    await bench.somebodyWaits()
    await holder.commit()
    expect((await redriven)[0]).toMatchObject({ redriven: 2, waiting: 0 })
  })

  it('and a second redrive of the same key: each letter has its effect once (I2)', async () => {
    await bench.handle([broken(0), ...Array.from({ length: 30 }, (_, i) => like(i + 1))])
    await bench.mend(0)
    const both = await Promise.allSettled([bench.redrive({ key: '1' }), bench.redrive({ key: '1' })])
    expect(both.map(({ status }) => status)).toContain('fulfilled')
    expect(await bench.applied()).toEqual(Array.from({ length: 31 }, (_, i) => i))
  })
})

it('a long tail behind a key costs the batches after it nothing (I8)', async () => {
  await bench.handle([broken(0), ...Array.from({ length: 4_000 }, (_, i) => like(i + 1)), broken(5_000, 2)])
  await bench.db.execute(sql`analyze metrics.dead_letters`)
  const db = explained(bench.db)
  const keys = Array.from({ length: 30 }, (_, i) => String(i + 1))
  const blocked = await readBlockedKeys(db, { consumer: bench.consumer, topic, partition: 0 }, keys)
  expect([...blocked].sort()).toEqual(['1', '2'])
  expect(db.rowsTouched()).toBeLessThan(1_500)
})

it('under load nothing is lost, doubled or out of order, however often its key parks and is redriven (I1, I2, I4, I9)', async () => {
  const [partitions, batches, size] = [[0, 12], 60, 10]
  // Every third batch has a record that cannot be read, of one of three keys; keys come in both partitions.
  const isBroken = (offset: number) => offset % (3 * size) === 7
  const productOf = (offset: number) => 1 + (offset % 3)
  let arriving = partitions.length
  const load = async (partition: number) => {
    for (let batch = 0; batch < batches; batch += 1) {
      const records = Array.from({ length: size }, (_, i) => {
        const offset = batch * size + i
        const record = (isBroken(offset) ? broken : like)(offset, productOf(offset))
        // which partition it came in shows in the effect: its user is the offset, plus a million in the second one
        const userId = offset + 1 + (partition === 0 ? 0 : 1_000_000)
        const text = `{"userId":${String(userId)},"productId":${record.key ?? ''},"createdAt":"2026-11-22T09:14:05Z"}`
        return isBroken(offset) ? record : { ...record, value: Buffer.from(text) }
      })
      await bench.handle(records, partition)
    }
    arriving -= 1
  }
  const mendAll = sql`
    update metrics.dead_letters set record_value = convert_to(format(
      '{"userId":%s,"productId":%s,"createdAt":"2026-11-22T09:14:05Z"}',
      record_offset + 1 + case partition when 0 then 0 else 1000000 end, record_key), 'UTF8')
    where consumer = ${bench.consumer} and reason = 'not_json' and resolved_at is null`
  const redriving = async () => {
    for (let idle = false; !idle;) {
      idle = arriving === 0
      await bench.db.execute(mendAll)
      await bench.redrive({}).catch((error: unknown) => {
        if ((error as { code?: string }).code !== 'NOT_FOUND') throw error
      })
    }
  }
  await Promise.all([...partitions.map(load), redriving()])

  const applied = await bench.applied()
  expect(await bench.db.query(sql`select 1 from metrics.dead_letters where consumer = ${bench.consumer} and resolved_at is null`)).toEqual([]) // prettier-ignore
  for (const base of [0, 1_000_000]) {
    for (const product of [1, 2, 3]) {
      const offsets = Array.from({ length: batches * size }, (_, i) => i).filter(
        (i) => productOf(i) === product,
      )
      const got = applied.filter(
        (at) => at >= base && at < base + 1_000_000 && productOf(at - base) === product,
      )
      expect(got).toEqual(offsets.map((offset) => base + offset))
    }
  }
}, 60_000)
