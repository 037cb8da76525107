import {
  type PgBouncer,
  type TestDatabase,
  freshDatabase,
  pgBouncerMissing,
  startPgBouncer,
} from '@likewise/database/testing'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { kafkaOf, saidBy } from './command-testing.ts'
import { addDeadLetterCommands } from './dead-letters.ts'
import { addOutboxCommands } from './outbox.ts'
import type { Tools } from './rebuild.ts'
import { addSnapshotCommands } from './snapshot.ts'
import { waitForMigrations } from './wait-for-migrations.ts'

const missing = pgBouncerMissing()
const describeIfThere = missing === undefined ? describe : describe.skip
if (missing !== undefined) process.stderr.write(`Skipped: the commands through PgBouncer. ${missing}\n`)

const before = { ...process.env }
const tools = { kafkaOptions: () => kafkaOf(before) }
let test: TestDatabase | undefined
let poolers: PgBouncer[] = []

beforeAll(async () => {
  if (missing !== undefined) return
  test = await freshDatabase('cli_pooler')
  // Refuses the settings of a connection; drops them without a word.
  const careless = startPgBouncer(test.url, 2, ['ignore_startup_parameters = options'])
  poolers = await Promise.all([startPgBouncer(test.url, 2), careless])
})
afterEach(() => {
  Object.assign(process.env, before)
})
afterAll(async () => {
  await test?.drop()
  await Promise.all(poolers.map((pooler) => pooler.stop()))
})

type Add = Parameters<typeof saidBy>[0]
const commands: [string, () => Promise<unknown>][] = [
  ...(
    [
      ['outbox parked', (program, { output }: Tools) => addOutboxCommands(program, output.say)],
      ['dead-letters list', (program, { output }: Tools) => addDeadLetterCommands(program, output.say)],
      ['snapshot list', (program, { output }: Tools) => addSnapshotCommands(program, output.say)],
    ] satisfies [string, Add][]
  ).map(([words, add]): [string, () => Promise<unknown>] => [
    words,
    () => saidBy(add, words.split(' '), tools),
  ]),
  ['migrate --wait', () => waitForMigrations(() => undefined)],
]

function leadThrough(url: string): void {
  for (const name of ['CATALOG_DATABASE_URL', 'METRICS_DATABASE_URL']) process.env[name] = url
}

describeIfThere('through a pooler that nobody told it of', () => {
  it.each(commands)('likewise %s does nothing, and says what to add to the URL', async (_, run) => {
    for (const { url } of poolers) {
      leadThrough(url.replace('pgbouncer=true', ''))
      await expect(run()).rejects.toThrow(
        /^(CATALOG|METRICS)_DATABASE_URL seems to lead through a pooler: .* Say so in the URL: …\?pgbouncer=true/,
      )
      leadThrough(url)
      await run()
    }
  })
})
