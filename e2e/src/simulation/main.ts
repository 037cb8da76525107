import { parseArgs } from 'node:util'
import fc from 'fast-check'
import { explain, isRight } from '../checker/verdict.ts'
import { scenarios } from './scenario.ts'
import { simulate } from './simulate.ts'

// npm run simulate: histories of the pure parts by a virtual clock, until so many are right or one is not.

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    runs: { type: 'string', default: '10000' },
  },
})
const [seed, numRuns] = [Number(values.seed), Number(values.runs)]
/** Shrinking is given up after so long, with the smallest history found by then. */
const limitMs = 120_000 + numRuns * 20

const begunMs = performance.now()
const say = (line: string): void => void process.stdout.write(`${line}\n`)
say(`simulate: seed ${seed}, ${numRuns} histories`)
const found = await fc.check(
  fc.asyncProperty(scenarios, async (scenario) => isRight((await simulate(scenario)).verdict)),
  { numRuns, seed, interruptAfterTimeLimit: limitMs },
)
const seconds = (performance.now() - begunMs) / 1_000
const [smallest] = found.counterexample ?? []
if (smallest === undefined) {
  const perMinute = Math.round((found.numRuns / seconds) * 60)
  say(`Valid: ${found.numRuns} histories in ${seconds.toFixed(1)} s (${perMinute} a minute).`)
} else {
  say(`History ${found.numRuns} of seed ${seed} is not right; shrunk ${found.numShrinks} times to:`)
  say(JSON.stringify(smallest))
  say(explain((await simulate(smallest)).verdict))
  process.exitCode = 1
}
