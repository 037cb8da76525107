import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ignoreTimerWarning } from '@likewise/kafka'
import { skipReason } from './inject.ts'
import { type FaultKind, buildRandom, faultKinds, planFaults, textOf, usualKinds } from './plan.ts'
import { tableOf, verdictOf } from './report.ts'
import { isWell, runChaos } from './run.ts'

// npm run chaos: docs/chaos.md says what it does and how it is read.

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    minutes: { type: 'string', default: '3' },
    faults: { type: 'string', default: usualKinds.join() },
    bound: { type: 'string', default: '120' },
    'plan-only': { type: 'boolean', default: false },
  },
})
const say = (line: string): void => void process.stdout.write(`${line}\n`)
const [seed, minutes, boundMs] = [Number(values.seed), Number(values.minutes), Number(values.bound) * 1_000]
const wanted: readonly string[] = values.faults === 'all' ? faultKinds : values.faults.split(',')
const unknown = wanted.filter((kind) => !faultKinds.some((known) => known === kind))
if (unknown.length > 0 || ![seed, minutes, boundMs].every(Number.isFinite)) {
  say(
    `${unknown.length > 0 ? `There is no fault ${unknown.join()}` : 'Not a number'}. npm run chaos -- --seed 1 --minutes 3 --bound 120`,
  )
  say(`  --faults all, or of ${faultKinds.join()}`)
  process.exit(2)
}
ignoreTimerWarning()

const again = `npm run chaos -- --seed ${seed} --minutes ${minutes} --faults ${values.faults}`
say(`chaos: seed ${seed}, ${minutes} minutes; 2 like-api, 2 outbox-relay, 3 metrics-consumer`)
const kinds = wanted.filter((kind): kind is FaultKind => {
  const reason = skipReason(kind as FaultKind)
  if (reason !== null) say(`  left out: ${kind}, since ${reason}`)
  return reason === null
})
if (kinds.length === 0) {
  say('No fault is left, and nothing was run.')
  process.exit(2)
}
const random = buildRandom(seed)
const lengthMs = minutes * 60_000
const lanes = planFaults(random, lengthMs, kinds)
for (const fault of lanes.flat().sort((a, b) => a.atMs - b.atMs)) say(`  ${textOf(fault)}`)
if (values['plan-only']) process.exit(0)

const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort())
const run = runChaos({ lanes, lengthMs, random, boundMs, say, signal: stopping.signal })
const result = await run.catch((error: unknown) => {
  if (!stopping.signal.aborted) throw error
  say('given up; all that was started is stopped')
  process.exit(130)
})
say(`\n${tableOf(result.injected)}\n`)
const ok = isWell(result)
const file = ok ? null : join(tmpdir(), `likewise-chaos-${seed}.json`)
if (file !== null) await writeFile(file, JSON.stringify(result))
say(verdictOf(result, { boundMs, again, file }))
process.exit(ok ? 0 : 1)
