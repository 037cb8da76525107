import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { type KafkaOptions, ignoreTimerWarning, quickenKafkajs } from '@likewise/kafka'
import {
  Failure,
  buildLogger,
  loadDotenv,
  loadEnvFile,
  maskPasswords,
  readConfig,
  readKafka,
  version,
} from '@likewise/service'
import type { Static } from 'typebox'
import { giveAccess } from './access.ts'
import { catalogOf, connect, metricsOf, wholeNumber } from './catalog.ts'
import { AccessConfig, CliConfig, TopicsConfig } from './config.ts'
import { addDeadLetterCommands } from './dead-letters.ts'
import { addDoctorCommand } from './doctor.ts'
import { migrateDatabases } from './migrate.ts'
import { addOutboxCommands } from './outbox.ts'
import { addWalCommands } from './outbox-wal.ts'
import type { Output } from './progress.ts'
import { addRebuildCommand } from './rebuild.ts'
import { addReplayCommand } from './replay.ts'
import { addSizeCommand } from './size.ts'
import { addSnapshotCommands } from './snapshot.ts'
import { readStatus } from './status.ts'
import { showStatus } from './status-view.ts'
import { makeTopics, manyPartitions } from './topics.ts'
import { waitForMigrations } from './wait-for-migrations.ts'
import { addTraceCommand } from './trace.ts'
import { addVerifyCommand } from './verify.ts'

/** Where npm start keeps its `.env` and home, whichever folder this is called from. */
const checkout = fileURLToPath(new URL('../../../', import.meta.url))

ignoreTimerWarning()
quickenKafkajs()

const program = new Command('likewise')
  .description(
    'Looks after a running Likewise. Reads CATALOG_DATABASE_URL, METRICS_DATABASE_URL and KAFKA_BROKERS ' +
      'from the environment, else from .env, else from what npm start wrote (.likewise/env).',
  )
  .version(version)

program
  .command('status')
  .description('what waits in the outbox, how far the consumer is behind, dead letters')
  .option('--json', 'machine-readable')
  .action(status)
program
  .command('migrate')
  .description('brings the databases to where this version needs them, without downloads')
  .option('--wait', 'change nothing, and wait until somebody else has done it')
  .action(({ wait }: { wait?: true }) => (wait ? waitForMigrations(say) : migrateDatabases(say)))
program
  .command('topics')
  .description('makes the Kafka topics that are missing, and adds partitions to catalog-events')
  .option(
    '--replication-factor <n>',
    "copies of each partition; the brokers' default unless set",
    wholeNumber(999),
  )
  .option('--partitions <n>', 'of catalog-events; first see docs/operations.md', manyPartitions)
  .action((wanted: { replicationFactor?: number; partitions?: number }) =>
    makeTopics(kafkaOptions(readConfig(TopicsConfig)), wanted, say),
  )
program
  .command('access')
  .description('gives each service its rights in Kafka, and nobody else any (docs/security.md)')
  .action(() => {
    const config = readConfig(AccessConfig)
    return giveAccess(kafkaOptions(config), config, say)
  })
addWalCommands(addOutboxCommands(program, say), say)
addDeadLetterCommands(program, say)
const tools = { kafkaOptions, output: terminalOutput(), aside: asideOutput() }
addRebuildCommand(program, tools)
addReplayCommand(program, tools)
addSnapshotCommands(program, say)
addVerifyCommand(program, tools)
addTraceCommand(program, tools)
addDoctorCommand(program, tools)
addSizeCommand(program, say)

loadDotenv(checkout)
// All or nothing: half of one system and half of another is never meant.
if (!Object.keys(CliConfig.properties).some((name) => process.env[name] || process.env[`${name}_FILE`])) {
  loadEnvFile(resolve(checkout, process.env['LIKEWISE_HOME'] || '.likewise', 'env'))
}
try {
  await program.parseAsync()
} catch (error) {
  if (!(error instanceof Failure)) throw error
  process.stderr.write(`${maskPasswords(error.message)}\n`)
  process.exitCode = 1
}

async function status(options: { json?: boolean }): Promise<void> {
  const config = readConfig(CliConfig)
  const databases = {
    catalog: connect(catalogOf(config)),
    metrics: connect(metricsOf(config)),
  }
  try {
    const found = await readStatus(databases, kafkaOptions(config), config.CONSUMER_GROUP)
    say(options.json ? JSON.stringify(found) : showStatus(found))
    if (Object.values(found).some((part) => 'error' in part)) process.exitCode = 1
  } finally {
    await Promise.all([databases.catalog.stop(), databases.metrics.stop()])
  }
}

function kafkaOptions(config: Static<typeof TopicsConfig>): KafkaOptions {
  return {
    ...readKafka(config),
    clientId: 'likewise-cli',
    requestTimeoutMs: 5_000,
    log: buildLogger({ service: 'cli', level: 'silent' }),
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

function terminalOutput(): Output {
  if (!process.stdout.isTTY) return { say }
  return { say, overwrite: (line) => void process.stdout.write(`\r\u001b[2K${line}`) }
}

/** Where standard output may be read by a program. */
function asideOutput(): Output {
  if (!process.stderr.isTTY) return { say: () => undefined }
  const write = (text: string) => void process.stderr.write(text)
  return { say: (line) => write(`${line}\n`), overwrite: (line) => write(`\r\u001b[2K${line}`) }
}
