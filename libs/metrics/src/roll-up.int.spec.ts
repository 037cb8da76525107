import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx } from '@likewise/database/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { applyToProductMetrics } from './apply.ts'
import { readLikeCountAsOf } from './as-of.ts'
import { readHistory } from './history.ts'
import { readProductMetrics } from './product-metrics.ts'
import { minutesKeptHoursMin, rollUp } from './roll-up.ts'
import { type Like, applyLikes, emptyModel, eventOf, nowMs } from './testing.ts'

const [minuteMs, hourMs, dayMs] = [60_000, 3_600_000, 86_400_000]
const kept = { minutesKeptHours: 48, hoursKeptDays: 90 }
let test: TestDatabase
beforeAll(async () => {
  test = await freshDatabase('roll_up')
})
afterAll(() => test.drop())
beforeEach(() => emptyModel(test.db))

/** The noon of some days ago: far from every edge. */
const noon = async (daysAgo: number): Promise<number> =>
  Math.floor((await nowMs(test.db)) / dayMs) * dayMs - daysAgo * dayMs + 12 * hourMs

async function rows(): Promise<Record<string, [buckets: number, added: number, removed: number]>> {
  const counted = await test.db.query<{ table: string; buckets: bigint; added: bigint; removed: bigint }>(sql`
    select 'minutes' as table, count(*) as buckets, coalesce(sum(added), 0)::bigint as added,
           coalesce(sum(removed), 0)::bigint as removed from metrics.product_like_windows
    union all select 'hours', count(*), coalesce(sum(added), 0)::bigint, coalesce(sum(removed), 0)::bigint
      from metrics.product_like_hours
    union all select 'days', count(*), coalesce(sum(added), 0)::bigint, coalesce(sum(removed), 0)::bigint
      from metrics.product_like_days`)
  return Object.fromEntries(
    counted.map(({ table, buckets, added, removed }) => [
      table,
      [Number(buckets), Number(added), Number(removed)],
    ]),
  )
}

const like = (productId: number, atMs: number, liked = true): Like => ({ productId, liked, atMs })

describe('a roll-up', () => {
  it('moves old minutes to their hour and old hours to their day, and leaves the young ones', async () => {
    const [young, old, ancient] = [await noon(1), await noon(5), await noon(200)]
    await applyLikes(test.as('likewise_consumer'), [
      like(1, young),
      like(1, old),
      like(1, old + 59 * minuteMs, false),
      like(1, old + hourMs),
      like(1, ancient),
      like(1, ancient + 3 * hourMs),
    ])
    expect(await rollUp(test.as('likewise_consumer'), kept)).toEqual({ minutes: 5, hours: 2 })
    expect(await rows()).toEqual({ minutes: [1, 1, 0], hours: [2, 2, 1], days: [1, 2, 0] })
    expect(await rollUp(test.as('likewise_consumer'), kept)).toEqual({ minutes: 0, hours: 0 })
  })

  it('takes a late event into the hour that its minute has moved to, once (I2)', async () => {
    const at = await noon(5)
    await applyLikes(test.as('likewise_consumer'), [like(1, at)])
    await rollUp(test.as('likewise_consumer'), kept)
    await applyLikes(test.as('likewise_consumer'), [like(1, at), like(1, at + minuteMs, false)])
    expect(await rows()).toEqual({ minutes: [2, 1, 1], hours: [1, 1, 0], days: [0, 0, 0] })
    const history = () =>
      readHistory(test.as('likewise_reader'), {
        productId: 1,
        fromMs: at,
        toMs: at + hourMs,
        step: '1m' as const,
      })
    const before = await history()
    expect(before).toMatchObject({ step: '1h', resolution: 'hour', points: [{ added: 2, removed: 1 }] })
    await rollUp(test.as('likewise_consumer'), kept)
    expect(await rows()).toEqual({ minutes: [0, 0, 0], hours: [1, 2, 1], days: [0, 0, 0] })
    expect(await history()).toEqual(before)
  })

  it('moves more than a chunk holds, a chunk at a time', async () => {
    const at = await noon(5)
    const likes = Array.from({ length: 11_000 }, (_, i) => like(1 + (i % 200), at + (i % 55) * minuteMs))
    await applyLikes(test.as('likewise_consumer'), likes)
    const { minutes } = await rollUp(test.as('likewise_consumer'), kept)
    expect(minutes).toBe(2_200)
    await test.db.execute(sql`
      insert into metrics.product_like_windows (product_id, bucket_start, added)
      select product, to_timestamp(${at / 1_000}) + minute * interval '1 minute', 1
      from generate_series(1, 300) as product, generate_series(0, 59) as minute`)
    expect(await rollUp(test.as('likewise_consumer'), kept)).toEqual({ minutes: 18_000, hours: 0 })
    expect(await rows()).toEqual({ minutes: [0, 0, 0], hours: [300, 29_000, 0], days: [0, 0, 0] })
  })

  it('passes over a minute that a batch holds, and moves it the next time', async () => {
    const at = await noon(5)
    await applyLikes(test.as('likewise_consumer'), [like(1, at), like(2, at)])
    const batch = await openTx(test.db)
    await applyToProductMetrics(batch.tx, [eventOf(like(1, at))])
    expect(await rollUp(test.as('likewise_consumer'), kept)).toEqual({ minutes: 1, hours: 0 })
    await batch.commit()
    expect(await rollUp(test.as('likewise_consumer'), kept)).toEqual({ minutes: 1, hours: 0 })
    expect(await rows()).toEqual({ minutes: [0, 0, 0], hours: [2, 3, 0], days: [0, 0, 0] })
  })

  it('loses and doubles nothing with three at once, under batches of late events for the same buckets (I2)', async () => {
    const at = await noon(95)
    let ended = false
    let sent = 0
    const batches = async (turn: number) => {
      for (let i = 0; i < 60; i += 1) {
        const likes = Array.from({ length: 30 }, (_, j) =>
          like(1 + ((i * turn + j * 7) % 20), at + ((i + j * turn) % 90) * minuteMs, j % 3 > 0),
        )
        await applyLikes(test.as('likewise_consumer'), turn % 2 === 0 ? likes : likes.reverse())
        sent += likes.length
      }
    }
    const rollUps = async () => {
      while (!ended) await rollUp(test.as('likewise_consumer'), kept)
    }
    const rolling = [rollUps(), rollUps(), rollUps()]
    await Promise.all([batches(1), batches(2), batches(3)])
    ended = true
    await Promise.all(rolling)
    await rollUp(test.as('likewise_consumer'), kept)
    expect(sent).toBe(5_400)
    expect(await rows()).toEqual({ minutes: [0, 0, 0], hours: [0, 0, 0], days: [20, 3_600, 1_800] })
    const counts = await Promise.all(
      Array.from(
        { length: 20 },
        async (_, i) => (await readProductMetrics(test.as('likewise_reader'), i + 1)).likeCount,
      ),
    )
    expect(counts.reduce((sum, count) => sum + count)).toBe(1_800)
  })

  it('keeps minutes at least as long as the longest window of trending', async () => {
    await expect(
      rollUp(test.as('likewise_consumer'), { minutesKeptHours: minutesKeptHoursMin - 1, hoursKeptDays: 90 }),
    ).rejects.toThrow(RangeError)
  })
})

describe('the count as of a moment', () => {
  it('is 0 before the first event, and the count of today after the last', async () => {
    const at = await noon(1)
    await applyLikes(test.as('likewise_consumer'), [like(1, at), like(1, at + minuteMs)])
    const asOf = (ms: number) => readLikeCountAsOf(test.as('likewise_reader'), 1, ms)
    expect(await asOf(at - 1)).toMatchObject({ likeCount: 0, resolution: 'minute' })
    expect(await asOf(at + minuteMs)).toMatchObject({ likeCount: 1 })
    expect(await asOf(await nowMs(test.db))).toMatchObject({ likeCount: 2 })
    expect(await asOf(Date.parse('0001-01-01T00:00:00Z'))).toMatchObject({ likeCount: 0 })
  })

  it('has in it, at every moment, what was counted before there were windows', async () => {
    const at = await noon(1)
    await test.db.execute(
      sql`insert into metrics.product_metrics (product_id, like_count, updated_at) values (1, 40, now())`,
    )
    await applyLikes(test.as('likewise_consumer'), [like(1, at), like(1, at + minuteMs)])
    expect(await readLikeCountAsOf(test.as('likewise_reader'), 1, at)).toMatchObject({ likeCount: 40 })
    expect(await readLikeCountAsOf(test.as('likewise_reader'), 1, at + minuteMs)).toMatchObject({
      likeCount: 41,
    })
  })

  it('is refused for a moment ahead of the database', async () => {
    expect(await readLikeCountAsOf(test.as('likewise_reader'), 1, (await nowMs(test.db)) + 60_000)).toBe(
      'future',
    )
  })

  it('says which hour or day it is the beginning of, where only that is known', async () => {
    const [hour, day] = [await noon(5), await noon(200)]
    await applyLikes(test.as('likewise_consumer'), [like(1, day), like(1, hour), like(2, hour)])
    await rollUp(test.as('likewise_consumer'), kept)
    expect(await readLikeCountAsOf(test.as('likewise_reader'), 1, hour + 30 * minuteMs)).toEqual({
      productId: 1,
      likeCount: 1,
      asOf: new Date(hour).toISOString(),
      resolution: 'hour',
    })
    expect(await readLikeCountAsOf(test.as('likewise_reader'), 1, day)).toEqual({
      productId: 1,
      likeCount: 0,
      asOf: new Date(day - 12 * hourMs).toISOString(),
      resolution: 'day',
    })
    // nothing of this product moved to a day, so the minute is known exactly
    expect(await readLikeCountAsOf(test.as('likewise_reader'), 2, day + 30 * minuteMs)).toMatchObject({
      resolution: 'minute',
    })
  })
})

describe('an event time that cannot be', () => {
  it('is counted, and troubles neither trending nor the past', async () => {
    const at = Date.parse('9999-12-31T23:59:00Z')
    const event = eventOf(like(1, await nowMs(test.db)))
    await test.db.tx((tx) =>
      applyToProductMetrics(tx, [
        { ...event, data: { ...event.data, createdAt: new Date(at).toISOString() } },
        { ...event, data: { ...event.data, createdAt: '0001-01-01T00:00:00+15:59' } },
      ]),
    )
    expect(await readProductMetrics(test.as('likewise_reader'), 1)).toMatchObject({ likeCount: 2 })
    expect(await rollUp(test.as('likewise_consumer'), kept)).toEqual({ minutes: 1, hours: 1 })
    expect(await rows()).toEqual({ minutes: [1, 1, 0], hours: [0, 0, 0], days: [1, 1, 0] })
  })
})
