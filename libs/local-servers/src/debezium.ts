import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connectDatabase, raw } from '@likewise/database'
import { Failure } from '@likewise/service'
import type { Logger } from '@likewise/service'
import { type JarSet, type JavaTools, findJars, missingFor } from './jars.ts'
import { freePort } from './ports.ts'
import { type Exit, type RunningProcess, startProcess } from './processes.ts'
import { workspaceRoot } from './services.ts'
import { until } from './until.ts'

/** A start takes 5 s here, and has taken 25 s beside other work. */
const startTimeoutMs = 120_000
/** Connect's own stop may wait for itself for ever (its HTTP server is stopped by two hooks at once). */
const stopGraceMs = 8_000

const directory = join(workspaceRoot, 'deploy', 'debezium')
const connector = 'likewise-outbox'

/** Kafka Connect with the connector of deploy/debezium, in the outbox relay's place. */
export interface Debezium {
  readonly process: RunningProcess
  /** In order if it can, else by SIGKILL: what it had not noted is sent again at the next start. */
  stop(): Promise<Exit>
  /** SIGKILL. */
  kill(): Promise<Exit>
}

export interface DebeziumOptions {
  /** Keeps the offsets, so that the next start goes on where this one stopped. */
  home: string
  databaseUrl: string
  kafkaBrokers: string
  /** Slots are the server's, not the database's: one name is one Debezium. */
  slot: string
  /** ce_source of its events. */
  eventSource: string
  log: Logger
  env?: NodeJS.ProcessEnv
}

/** Why there can be no Debezium on this machine, or undefined. */
export function debeziumMissing(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return missingFor(jarSet(), env)
}

/** Debezium as deploy/debezium configures it, its publication made; resolves when its task runs. */
export async function startDebezium(options: DebeziumOptions): Promise<Debezium> {
  const { home, log, env = process.env } = options
  const tools = await findJars(jarSet(), { env, log })
  await makePublication(options.databaseUrl)
  await mkdir(join(home, 'debezium'), { recursive: true })
  const port = await freePort()
  const running = await startProcess({
    home,
    name: 'debezium',
    command: tools.java.command,
    args: javaArgs(tools),
    env: { ...env, ...settings(options, port) },
    logFile: join(home, 'logs', 'debezium.log'),
    cwd: join(home, 'debezium'),
  })
  const started = async () => running.hasExited() || (await taskRuns(port))
  if (!(await until(started, startTimeoutMs)) || running.hasExited()) {
    await running.stop('SIGKILL', 0)
    throw new Failure('BROKER_UNAVAILABLE', `Debezium did not start:\n${await running.outputTail()}`)
  }
  return {
    process: running,
    stop: () => running.stop('SIGTERM', stopGraceMs),
    kill: () => running.stop('SIGKILL', 0),
  }
}

/** Another pom, another set: the versions stand there and nowhere else. */
function jarSet(): JarSet {
  const pom = join(directory, 'pom.xml')
  const hash = createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 12)
  return {
    name: 'Debezium',
    directory: `debezium-${hash}`,
    pom,
    missing: (sentence, cause) =>
      new Failure(
        'MISSING_TOOL',
        `${sentence} To run Debezium here, install Java 17 or newer and Maven, which fetches it once.`,
        cause,
      ),
  }
}

function settings(options: DebeziumOptions, port: number): Record<string, string> {
  const url = new URL(options.databaseUrl)
  return {
    KAFKA_BROKERS: options.kafkaBrokers,
    EVENT_SOURCE: options.eventSource,
    CONNECT_PORT: String(port),
    CONNECT_OFFSETS: join(options.home, 'debezium', 'offsets'),
    DEBEZIUM_HOST: url.hostname,
    DEBEZIUM_PORT: url.port || '5432',
    DEBEZIUM_USER: decodeURIComponent(url.username),
    DEBEZIUM_PASSWORD: decodeURIComponent(url.password),
    DEBEZIUM_DATABASE: decodeURIComponent(url.pathname.slice(1)),
    DEBEZIUM_SLOT: options.slot,
  }
}

/** As the image starts it (deploy/debezium/Dockerfile). */
function javaArgs(tools: JavaTools): string[] {
  const main = 'org.apache.kafka.connect.cli.ConnectStandalone'
  return [
    '-Xms256m',
    '-Xmx512m',
    '-XX:+ExitOnOutOfMemoryError',
    '-XX:-UsePerfData',
    `-Dlog4j2.configurationFile=${join(directory, 'log4j2.properties')}`,
    '-cp',
    join(tools.jars, '*'),
    main,
    join(directory, 'worker.properties'),
    join(directory, 'outbox.properties'),
  ]
}

async function makePublication(url: string): Promise<void> {
  const db = connectDatabase({
    url,
    poolSizeMax: 1,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 30_000,
    applicationName: 'likewise-debezium',
  })
  try {
    await db.execute(raw(await readFile(join(directory, 'publication.sql'), 'utf8')))
  } finally {
    await db.stop()
  }
}

async function taskRuns(port: number): Promise<boolean> {
  try {
    const url = `http://127.0.0.1:${String(port)}/connectors/${connector}/status`
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) })
    const { tasks } = (await response.json()) as { tasks?: { state: string }[] }
    return tasks?.[0]?.state === 'RUNNING'
  } catch {
    return false // not listening yet
  }
}
