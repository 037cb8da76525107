import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { readLikeCount } from './demo/like-count.ts'
import { isSettled, lostLikes, readCounts, settled } from './invariants.ts'
import { sendLike, sendUnlike, spread } from './likes.ts'
import { isOk, loadDuring } from './load-during.ts'
import { type System, eventually, kill, startSystem } from './system.ts'

let system: System
beforeAll(async () => {
  system = await startSystem()
}, 180_000)
afterAll(() => system.stop(), 60_000)

const api = (i: number): string => system.apis[i % system.apis.length] ?? ''

describe('kill -9 in the middle of the load', () => {
  it('loses and doubles nothing when both relays are killed in turn (I1, I2, I3)', async () => {
    const answers = await loadDuring(system, 1_000, async () => {
      for (const name of ['outbox-relay-1', 'outbox-relay-2', 'outbox-relay-1']) {
        await kill(system, name)
        await eventually(async () => !system.service(name).process.hasExited())
      }
    })
    expect(answers.every(isOk)).toBe(true)
    expect(await lostLikes(system, answers)).toEqual([])
    expect(await readCounts(system)).toEqual(settled)
  }, 180_000)

  it('loses and doubles nothing when both consumers are killed in turn (I1, I2, I3)', async () => {
    const answers = await loadDuring(system, 2_000, async () => {
      for (const name of ['metrics-consumer-1', 'metrics-consumer-2', 'metrics-consumer-1']) {
        await kill(system, name)
        await eventually(async () => !system.service(name).process.hasExited())
      }
    })
    expect(answers.every(isOk)).toBe(true)
    expect(await lostLikes(system, answers)).toEqual([])
    expect(await readCounts(system)).toEqual(settled)
  }, 180_000)

  it('keeps every like that was answered 2xx when an API is killed (I1, I3)', async () => {
    const answers = await loadDuring(system, 3_000, async () => {
      await kill(system, 'like-api-1')
      await eventually(async () => !system.service('like-api-1').process.hasExited())
    })
    expect(answers.some(isOk)).toBe(true)
    expect(await lostLikes(system, answers)).toEqual([])
    expect(await readCounts(system)).toEqual(settled)
  }, 180_000)

  it('counts unlikes of the same users too, once each (I2, I3)', async () => {
    for (const send of [sendLike, sendUnlike]) {
      await spread(200, 10, async (i) => {
        await send(api(i), i + 1, 4_000 + (i % 5))
      })
    }
    await eventually(() => isSettled(system))
    expect(await readLikeCount(system.metricsApi, 4000)).toBe(0)
  }, 60_000)
})
