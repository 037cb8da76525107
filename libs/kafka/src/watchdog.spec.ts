import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type Signs, type Verdict, awakeMs, judge } from './watchdog.ts'

const limits = { silenceMs: 60_000, restartsMax: 3 }
const quiet = (memberMs: number, progressMs: number, restarts = 0): Signs => ({
  memberMs,
  progressMs,
  restarts,
})

describe('the watchdog', () => {
  it.each<[string, Signs, number, Verdict]>([
    ['a member that beats and gets on is fine', quiet(59_000, 58_000), 60_000, 'fine'],
    ['one without a heartbeat for half the time is not ready', quiet(0, 29_000), 30_000, 'not ready'],
    [
      'one that beats while records wait for half the time is not ready',
      quiet(30_000, 0),
      30_000,
      'not ready',
    ],
    ['one that is silent for all of it is replaced', quiet(0, 60_000), 60_000, 'restart'],
    ['one that gets nowhere for all of it is replaced', quiet(60_000, 0), 60_000, 'restart'],
    ['a fresh client is not ready before it gets on', quiet(60_000, 60_000, 1), 60_001, 'not ready'],
    ['the last fresh client has its time, too', quiet(0, 0, 3), 59_999, 'not ready'],
    ['after the last fresh client the process ends', quiet(0, 0, 3), 60_000, 'exit'],
  ])('%s', (_, signs, nowMs, verdict) => {
    expect(judge(signs, nowMs, limits)).toBe(verdict)
  })

  it('never replaces a client that shows both signs in time, whatever the rest', () => {
    const age = fc.integer({ min: 0, max: limits.silenceMs - 1 })
    fc.assert(
      fc.property(age, age, fc.nat(9), fc.nat(), (memberAge, progressAge, restarts, at) => {
        const nowMs = at + limits.silenceMs
        const verdict = judge(quiet(nowMs - memberAge, nowMs - progressAge, restarts), nowMs, limits)
        expect(['fine', 'not ready']).toContain(verdict)
      }),
    )
  })

  it('is not ready before each replacement, and ends the process only after all of them', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 20 }), (restartsMax, ticks) => {
        const own = { silenceMs: ticks * 10, restartsMax }
        const signs = quiet(0, 0)
        const said: Verdict[] = []
        for (let nowMs = 0; said.at(-1) !== 'exit'; nowMs += 1) {
          const verdict = judge(signs, nowMs, own)
          if (said.at(-1) !== verdict) said.push(verdict)
          if (verdict === 'restart') Object.assign(signs, quiet(nowMs, nowMs, signs.restarts + 1))
        }
        const round: Verdict[] = ['not ready', 'restart']
        const rounds = Array.from({ length: restartsMax }, () => round).flat()
        expect(said).toEqual(['fine', ...rounds, 'not ready', 'exit'])
      }),
    )
  })

  it('takes no time a process slept for silence, however long it slept', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 5_000 }), (elapsedMs, everyMs) => {
        const passed = awakeMs(elapsedMs, everyMs)
        expect(passed).toBeGreaterThanOrEqual(0)
        expect(passed).toBeLessThanOrEqual(2 * everyMs)
        if (elapsedMs >= 0 && elapsedMs <= 2 * everyMs) expect(passed).toBe(elapsedMs)
      }),
    )
  })
})
