import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { connectDatabase } from '@likewise/database'
import { ignoreTimerWarning } from '@likewise/kafka'
import {
  Failure,
  buildLogger,
  loadDotenv,
  loadEnvFile,
  maskPasswords,
  parseBrokers,
  readConfig,
  version,
} from '@likewise/service'
import { CliConfig } from './config.ts'
import { readStatus } from './status.ts'
import { showStatus } from './status-view.ts'

/** Where npm start keeps its `.env` and home, whichever folder this is called from. */
const checkout = fileURLToPath(new URL('../../../', import.meta.url))

ignoreTimerWarning()

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

try {
  await program.parseAsync()
} catch (error) {
  if (!(error instanceof Failure)) throw error
  process.stderr.write(`${maskPasswords(error.message)}\n`)
  process.exitCode = 1
}

async function status(options: { json?: boolean }): Promise<void> {
  loadDotenv(checkout)
  loadEnvFile(resolve(checkout, process.env['LIKEWISE_HOME'] || '.likewise', 'env'))
  const config = readConfig(CliConfig)
  const connect = (url: string) =>
    connectDatabase({
      url,
      poolSizeMax: 2,
      connectTimeoutMs: 2_000,
      statementTimeoutMs: 30_000,
      applicationName: 'likewise-cli',
    })
  const databases = {
    catalog: connect(config.CATALOG_DATABASE_URL),
    metrics: connect(config.METRICS_DATABASE_URL),
  }
  const kafka = {
    brokers: parseBrokers(config.KAFKA_BROKERS),
    clientId: 'likewise-cli',
    requestTimeoutMs: 5_000,
    log: buildLogger({ service: 'cli', level: 'silent' }),
  }
  try {
    const found = await readStatus(databases, kafka, config.CONSUMER_GROUP)
    process.stdout.write(`${options.json ? JSON.stringify(found) : showStatus(found)}\n`)
    if (Object.values(found).some((part) => 'error' in part)) process.exitCode = 1
  } finally {
    await Promise.all([databases.catalog.stop(), databases.metrics.stop()])
  }
}
