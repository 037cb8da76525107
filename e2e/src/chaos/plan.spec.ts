import { describe, expect, it } from '@jest/globals'
import { buildRandom, faultKinds, killPoints, planFaults, textOf, usualKinds } from './plan.ts'

const hourMs = 3_600_000
const planOf = (seed: number, lengthMs = hourMs) => planFaults(buildRandom(seed), lengthMs, faultKinds)

describe('the plan of a run', () => {
  it('is the same for the same seed, and another one for another', () => {
    expect(planOf(7)).toEqual(planOf(7))
    expect(planOf(8)).not.toEqual(planOf(7))
  })

  it('has every kind of fault in an hour, towards both servers, and every toxic', () => {
    const all = planOf(1).flat()
    expect(new Set(all.map(({ kind }) => kind))).toEqual(new Set(faultKinds))
    const links = all.filter(({ kind }) => kind === 'link')
    expect(new Set(links.map(({ server }) => server))).toEqual(new Set(['postgres', 'kafka']))
    expect(new Set(links.map(({ toxic }) => toxic.kind)).size).toBe(7)
    const points = all.flatMap(({ kind, point }) => (kind === 'kill-at' ? point : []))
    expect(new Set(points)).toEqual(new Set(Object.keys(killPoints)))
  })

  it.each([1, 2, 3])(
    'deals kinds like cards (seed %d): none comes again before each has come once',
    (seed) => {
      const all = planOf(seed)
        .flat()
        .sort((a, b) => a.atMs - b.atMs)
      const first = all.slice(0, faultKinds.length).map(({ kind }) => kind)
      expect(new Set(first)).toEqual(new Set(faultKinds))
    },
  )

  it('kills at a point a process of the app that comes there', () => {
    const usual = planFaults(buildRandom(5), hourMs, usualKinds).flat()
    const kills = usual.filter(({ kind }) => kind === 'kill-at')
    expect(kills.length).toBeGreaterThan(5)
    for (const { app, point } of kills) expect(app).toBe(killPoints[point])
  })

  it('begins no fault after its time, and in a lane none before the one before is over', () => {
    for (const lane of planOf(3, 180_000)) {
      expect(lane.length).toBeGreaterThan(5)
      for (const [i, { atMs, forMs }] of lane.entries()) {
        expect(atMs).toBeLessThan(180_000)
        expect(lane[i + 1]?.atMs ?? Infinity).toBeGreaterThan(atMs + forMs)
      }
    }
  })

  it('is told a fault a line', () => {
    const fault = {
      kind: 'link',
      atMs: 1_500,
      forMs: 2_000,
      app: 'outbox-relay',
      instance: 2,
      server: 'kafka',
      point: 'before settle',
      seed: 1,
    } as const
    expect(textOf({ ...fault, toxic: { kind: 'down' } })).toBe(
      '   1.5 s  link outbox-relay-2 → kafka: {"kind":"down"}, for 2.0 s',
    )
    expect(textOf({ ...fault, kind: 'kafka-crash', toxic: { kind: 'down' } })).toBe(
      '   1.5 s  kafka-crash, for 2.0 s',
    )
    expect(textOf({ ...fault, kind: 'kill-at', forMs: 0, toxic: { kind: 'down' } })).toBe(
      '   1.5 s  kill-at outbox-relay-2, before settle',
    )
  })
})
