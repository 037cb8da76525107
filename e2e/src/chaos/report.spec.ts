import { describe, expect, it } from '@jest/globals'
import { check } from '../checker/check.ts'
import { correctHistory } from '../checker/correct.ts'
import type { Fault } from './plan.ts'
import { tableOf, verdictOf } from './report.ts'
import { type ChaosResult, isWell } from './run.ts'

const fault: Fault = {
  ...{ kind: 'kill', atMs: 0, forMs: 0, app: 'like-api', instance: 1, server: 'kafka' },
  ...{ toxic: { kind: 'down' }, point: 'before settle', seed: 1 },
}
const history = correctHistory({
  requests: [{ userId: 1, productId: 1, liked: true, fate: 'answered', overlap: 0 }],
  pages: [],
  batches: [],
})
const well: ChaosResult = {
  ...{
    injected: [{ fault, recoveredMs: 1_000 }],
    quietMs: 2_000,
    restless: [],
    history,
    verdict: check(history),
  },
}
const options = { boundMs: 60_000, again: 'npm run chaos -- --seed 1', file: '/tmp/h.json' }

describe('the report of a run', () => {
  it('tells for each kind of fault how often it was injected, and in what time all worked again', () => {
    const injected = [
      { fault, recoveredMs: 1_000 },
      { fault, recoveredMs: 3_000 },
      { fault },
      { fault: { ...fault, kind: 'link' as const }, recoveredMs: 100 },
      { fault: { ...fault, kind: 'kill-at' as const }, missed: 'another fault was in its way' },
    ]
    expect(tableOf(injected)).toBe(
      [
        'fault                   injected  recovered in (median)  (most)',
        'kill                           3                  3.0 s   3.0 s  1 not recovered',
        'kill-at: before settle         0                      –       –  1 more not injected',
        'link: down                     1                  0.1 s   0.1 s',
      ].join('\n'),
    )
  })

  it('tells that all is right', () => {
    expect(isWell(well)).toBe(true)
    expect(verdictOf(well, { ...options, file: null })).toMatch(
      /^Quiet after 2\.0 s \(bound 60 s\)\.\nValid: 1 requests/,
    )
  })

  it('tells on failure what was found, where the history is and how to run it again', () => {
    const lost = {
      ...well,
      verdict: check({ ...history, events: [], records: [], transactions: [], likes: [], counts: [] }),
    }
    expect(isWell(lost)).toBe(false)
    expect(verdictOf(lost, options)).toContain('INVALID: 1 × lost write')
    expect(verdictOf(lost, options)).toContain('History: /tmp/h.json\nAgain: npm run chaos -- --seed 1')
  })

  it('takes a run for failed that did not become quiet, or recover, in time', () => {
    const restless = { ...well, quietMs: null, restless: ['PENDING 3'] }
    expect(isWell(restless)).toBe(false)
    expect(verdictOf(restless, options)).toContain('Not quiet within 60 s: PENDING 3.')
    expect(isWell({ ...well, injected: [{ fault }] })).toBe(false)
  })
})
