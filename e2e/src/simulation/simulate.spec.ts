import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type Anomaly, countByName, explain, isRight } from '../checker/verdict.ts'
import { scenarios } from './scenario.ts'
import { type Bugs, simulate } from './simulate.ts'

const seed = Number(process.env['SIMULATE_SEED'] || Date.now())
const runs = Number(process.env['SIMULATE_RUNS'] || 200)

describe('the simulation', () => {
  it('keeps every promise, whatever is lost, late, killed, asleep or down', async () => {
    await fc.assert(
      fc.asyncProperty(scenarios, async (scenario) => {
        const { verdict } = await simulate(scenario)
        expect(explain(verdict)).toMatch(/^Valid: /)
      }),
      // However busy the machine is; it also ends the shrinking of what is found.
      { numRuns: runs, seed, interruptAfterTimeLimit: 30_000 },
    )
  })

  it('makes the same history of the same scenario', async () => {
    const scenario = fc.sample(scenarios, { numRuns: 50, seed: 1 })
    for (const one of scenario) expect(await simulate(one)).toEqual(await simulate(one))
  })

  it('meets what it is made for: unknown answers, copies, dead letters, refused events', async () => {
    const met = { unknown: 0, copies: 0, letters: 0, refused: 0 }
    for (const scenario of fc.sample(scenarios, { numRuns: 200, seed: 2 })) {
      const { history, verdict } = await simulate(scenario)
      met.unknown += verdict.facts.unknown
      met.copies += verdict.facts.copies
      met.letters += history.letters.filter(({ discarded }) => discarded).length
      met.refused += history.letters.filter(({ planted }) => planted).length
    }
    for (const count of Object.values(met)) expect(count).toBeGreaterThan(10)
  })
})

/** Each with a name that it must be found by; some show in several ways. */
const plants: Record<string, { bugs: Bugs; anomaly: Anomaly | readonly Anomaly[] }> = {
  'the cursor moves before Kafka has answered': { bugs: { settleFirst: true }, anomaly: 'lost write' },
  'the next rows are those with a greater seq': { bugs: { greaterSeq: true }, anomaly: 'lost write' },
  'the offset is marked before the work': { bugs: { markFirst: true }, anomaly: 'lost write' },
  'the ids are remembered before the work': { bugs: { rememberFirst: true }, anomaly: 'torn write' },
  'the event is committed apart from its like': {
    bugs: { twoTransactions: true },
    anomaly: ['torn write', 'duplicate effect'],
  },
  'no id is remembered': { bugs: { noIds: true }, anomaly: 'duplicate effect' },
  'the event is written before the lock of its like': { bugs: { eventFirst: true }, anomaly: 'order' },
  'a page is sent from its end': { bugs: { backwards: true }, anomaly: 'order' },
  'an outage counts as the fault of its event': { bugs: { countsOutages: true }, anomaly: 'stuck' },
}

describe('a planted bug is found by its name:', () => {
  it.each(Object.entries(plants))('%s', async (_, { bugs, anomaly }) => {
    const found = await findFailing(bugs, { runs: 2_000, endOnFailure: true })
    const names = countByName((await simulate(found, bugs)).verdict)
    expect([anomaly].flat().some((name) => names.has(name))).toBe(true)
  })

  it('and what happened is shrunk to the few steps that show it', async () => {
    const found = await findFailing({ settleFirst: true }, { runs: 100, endOnFailure: false })
    expect(found.clients).toHaveLength(1)
    expect(found.clients[0]).toHaveLength(1)
    expect(found.choices.every((choice) => choice === 0)).toBe(true)
  })
})

async function findFailing(
  bugs: Bugs,
  { runs: numRuns, endOnFailure }: { runs: number; endOnFailure: boolean },
) {
  const isRightOf = fc.asyncProperty(scenarios, async (scenario) =>
    isRight((await simulate(scenario, bugs)).verdict),
  )
  const { counterexample } = await fc.check(isRightOf, {
    numRuns,
    seed: 3,
    endOnFailure,
    interruptAfterTimeLimit: 30_000,
  })
  if (counterexample === null) throw new Error('Nothing was found.')
  return counterexample[0]
}
