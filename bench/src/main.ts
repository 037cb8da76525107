import { writeFile } from 'node:fs/promises'
import { Failure, maskPasswords } from '@likewise/service'
import { type Area, type Arguments, readArguments } from './arguments.ts'
import { benchApi } from './api-bench.ts'
import { type Bed, withBed } from './bed.ts'
import { benchConsumer } from './consumer-bench.ts'
import { benchEndToEnd } from './e2e-bench.ts'
import { readCommit, readMachine } from './machine.ts'
import { benchPooler } from './pooler-bench.ts'
import { benchRelay } from './relay-bench.ts'
import { benchStorage } from './storage-bench.ts'
import { type Part, type Report, conditionsOf, tableOf } from './report.ts'

// In this order, because each leaves more behind than the next one minds: likes on the topic, then a full topic.
const benches: readonly [Area, (bed: Bed, options: Arguments) => Promise<Part[]>][] = [
  ['e2e', (bed, { repeats }) => benchEndToEnd(bed, repeats)],
  ['consumer', benchConsumer],
  ['relay', benchRelay],
  ['api', (bed, { repeats }) => benchApi(bed, repeats)],
  ['pooler', (bed, { repeats }) => benchPooler(bed, repeats)],
  ['storage', benchStorage],
]

const tell = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

async function bench(stopping: AbortSignal): Promise<void> {
  const options = readArguments(process.argv.slice(2))
  const { areas, jsonFile } = options
  const report = await withBed({ stopping, tell }, async (bed): Promise<Report> => {
    const machine = await readMachine({ db: bed.catalog, home: bed.home, servers: bed.servers.kind })
    const conditions = { machine, date: new Date().toISOString(), commit: await readCommit() }
    tell(`${conditionsOf(conditions)}\n`)
    const parts: Partial<Record<Area, Part[]>> = {}
    for (const [area, run] of benches) if (areas.includes(area)) parts[area] = await run(bed, options)
    return { ...conditions, parts: areas.flatMap((area) => parts[area] ?? []) }
  })
  tell(`\n${tableOf(report.parts)}`)
  if (jsonFile !== undefined) await writeFile(jsonFile, `${JSON.stringify(report, null, 2)}\n`)
}

const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) process.exit(1)
    stopping.abort(new Failure('CONFIG_INVALID', `Stopped by ${signal}.`))
  })
}
try {
  await bench(stopping.signal)
} catch (error) {
  process.exitCode = 1
  process.stderr.write(
    error instanceof Failure
      ? `${maskPasswords(error.message)}\n`
      : `${maskPasswords(String((error as Error).stack))}\n`,
  )
}
