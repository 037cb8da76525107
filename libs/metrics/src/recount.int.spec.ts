import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { readLikeCountAsOf } from './as-of.ts'
import { pointsMax, pointsOf, readHistory } from './history.ts'
import { type Step, steps } from './resolution.ts'
import { rollUp } from './roll-up.ts'
import { type Like, applyLikes, applyLikesWithin, emptyModel, netOf, nowMs } from './testing.ts'
import { type TrendingWindow, readTrending } from './trending.ts'

let test: TestDatabase
beforeAll(async () => {
  test = await freshDatabase('recount')
})
afterAll(() => test.drop())

const [minuteMs, dayMs] = [60_000, 86_400_000]
const products = [1, 2, 3]
const resolutionsMs = { minute: minuteMs, hour: 3_600_000, day: dayMs }
const kept = { minutesKeptHours: 25, hoursKeptDays: 3 }

/** How long ago something happened: minutes, hours and days that move, and up to 20 hours ahead. */
const ages = fc.oneof(
  fc.integer({ min: 0, max: 10 * minuteMs }),
  fc.integer({ min: 0, max: dayMs }),
  fc.integer({ min: dayMs, max: 4 * dayMs }),
  fc.integer({ min: 0, max: 60 * dayMs }),
  fc.integer({ min: -20 * 3_600_000, max: 0 }),
)
const likes = fc.array(fc.tuple(fc.constantFrom(...products), fc.boolean(), ages), { maxLength: 20 })
/** Batches in any order of event time, so late events are everywhere; with or without a roll-up after each. */
const runs = fc.array(fc.tuple(likes, fc.boolean()), { minLength: 1, maxLength: 6 })

/** A moment near one of the events: in its minute, its hour, its day or beside. */
const nearby = fc.record({
  event: fc.nat(),
  apartMs: fc.oneof(
    fc.integer({ min: -minuteMs, max: minuteMs }),
    fc.integer({ min: -resolutionsMs.hour, max: resolutionsMs.hour }),
    fc.integer({ min: -dayMs, max: dayMs }),
  ),
})
const momentOf = (
  all: readonly Like[],
  baseMs: number,
  { event, apartMs }: { event: number; apartMs: number },
) => (all[event % all.length]?.atMs ?? baseMs) + apartMs

async function applyRuns(
  steps: readonly (readonly [readonly (readonly [number, boolean, number])[], boolean])[],
): Promise<{ all: Like[]; baseMs: number }> {
  await emptyModel(test.db)
  const baseMs = Math.floor(await nowMs(test.db))
  const all: Like[] = []
  for (const [i, [batch, rolls]] of steps.entries()) {
    const apply = i % 2 === 0 ? applyLikes : applyLikesWithin
    const likes = batch.map(([productId, liked, age]) => ({ productId, liked, atMs: baseMs - age }))
    if (likes.length > 0) await apply(test.as('likewise_consumer'), likes)
    all.push(...likes)
    if (rolls) await rollUp(test.as('likewise_consumer'), kept)
  }
  return { all, baseMs }
}

function recountTrending(all: readonly Like[], fromMs: number, toMs: number) {
  return products
    .map((productId) => {
      const within = all.filter(
        (like) =>
          like.productId === productId &&
          like.atMs >= fromMs &&
          Math.floor(like.atMs / minuteMs) * minuteMs <= toMs,
      )
      const added = within.filter(({ liked }) => liked).length
      return { productId, score: netOf(within), added, removed: within.length - added }
    })
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score || a.productId - b.productId)
}

describe('whatever the history, however it is cut, late and rolled up in between', () => {
  it('trending equals a recount of the window (I2)', async () => {
    await fc.assert(
      fc.asyncProperty(
        runs,
        fc.constantFrom<TrendingWindow>('5m', '1h', '24h'),
        fc.integer({ min: 1, max: 4 }),
        async (steps, window, limit) => {
          const { all } = await applyRuns(steps)
          const trending = await readTrending(test.as('likewise_reader'), window, limit)
          const recount = recountTrending(all, Date.parse(trending.from), Date.parse(trending.to))
          expect(trending.products).toEqual(recount.slice(0, limit))
        },
      ),
      { numRuns: 40 },
    )
  })

  it('the count as of a moment equals a recount of what happened before the edge that is told (I2)', async () => {
    await fc.assert(
      fc.asyncProperty(runs, nearby, async (steps, near) => {
        const { all, baseMs } = await applyRuns(steps)
        const momentMs = Math.min(momentOf(all, baseMs, near), baseMs)
        for (const productId of products) {
          const asOf = await readLikeCountAsOf(test.as('likewise_reader'), productId, momentMs)
          if (asOf === 'future') throw new Error('a moment before now was taken for the future')
          const edgeMs = Date.parse(asOf.asOf)
          const unitMs = resolutionsMs[asOf.resolution]
          expect(edgeMs).toBe(Math.floor(momentMs / unitMs) * unitMs)
          if (momentMs > baseMs - dayMs) expect(asOf.resolution).toBe('minute')
          const before = all.filter((like) => like.productId === productId && like.atMs < edgeMs)
          expect(asOf.likeCount).toBe(netOf(before))
        }
      }),
      { numRuns: 40 },
    )
  })

  it('every point of a history equals a recount of its step, and its count the count as of its end (I2)', async () => {
    const question = fc.record({
      step: fc.constantFrom<Step>('1m', '5m', '1h', '1d'),
      near: nearby,
      points: fc.integer({ min: 1, max: 100 }),
    })
    await fc.assert(
      fc.asyncProperty(runs, question, async (batches, { step, near, points }) => {
        const { all, baseMs } = await applyRuns(batches)
        const fromMs = momentOf(all, baseMs, near)
        const asked = { productId: 1, fromMs, toMs: fromMs + points * steps[step] * 1_000, step }
        expect(pointsOf(asked)).toBeLessThanOrEqual(pointsMax)
        const history = await readHistory(test.as('likewise_reader'), asked)
        const stepMs = steps[history.step] * 1_000
        expect(Date.parse(history.from)).toBe(Math.floor(asked.fromMs / stepMs) * stepMs)
        expect(Date.parse(history.to)).toBe(Math.ceil(asked.toMs / stepMs) * stepMs)
        const own = all.filter(({ productId }) => productId === 1)
        let startMs = Date.parse(history.from)
        for (const point of history.points) {
          const within = own.filter(({ atMs }) => atMs >= startMs && atMs < startMs + stepMs)
          const added = within.filter(({ liked }) => liked).length
          expect(point).toEqual({
            start: new Date(startMs).toISOString(),
            added,
            removed: within.length - added,
            likeCount: netOf(own.filter(({ atMs }) => atMs < startMs + stepMs)),
          })
          startMs += stepMs
        }
        expect(startMs).toBe(Date.parse(history.to))
      }),
      { numRuns: 40 },
    )
  })
})
