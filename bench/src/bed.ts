import { randomBytes } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, connectDatabase, migrate, raw } from '@likewise/database'
import { catalogEventsPartitions, topics } from '@likewise/events'
import { type KafkaOptions, ensureTopics, readTopicEnds } from '@likewise/kafka'
import {
  type App,
  type RunningService,
  type Servers,
  connectionsOf,
  freePort,
  prepareTopics,
  removeHome,
  startServers,
  startService,
  stopService,
} from '@likewise/local-servers'
import { Failure, type Logger, buildLogger, parseBrokers, pause } from '@likewise/service'

/** What a benchmark stands on: real servers with a database and topics of its own, and services it starts. */
export interface Bed {
  readonly servers: Servers
  readonly home: string
  readonly catalog: Database
  /** For what connects by itself. */
  readonly catalogUrl: string
  readonly metrics: Database
  /** What a process of Likewise needs to find these servers. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly kafka: KafkaOptions
  /** Where bare producers write, so that catalog-events holds the relay's records only. */
  readonly bareTopic: string
  readonly log: Logger
  /** Says a line to whoever waits. */
  tell(line: string): void
  /** Aborted by a signal: whoever waits, looks at it. */
  readonly stopping: AbortSignal
  /** Runs an app as a process of its own, as `npm start` does, while `work` lasts. */
  withService<T>(
    app: App,
    env: Readonly<Record<string, string>>,
    work: (service: RunningService) => Promise<T>,
  ): Promise<T>
}

/** Lays the bed, and clears it away whatever happens: no process, no database and no file stays. */
export async function withBed<T>(
  { stopping, tell }: Pick<Bed, 'stopping' | 'tell'>,
  work: (bed: Bed) => Promise<T>,
): Promise<T> {
  const log = buildLogger({ service: 'bench', level: 'warn' })
  const home = await mkdtemp(join(tmpdir(), 'likewise-bench-'))
  const releases: (() => Promise<unknown>)[] = [() => removeHome(home)]
  try {
    const servers = await startServers({ home, log })
    releases.push(() => servers.stop())
    const { urls, drop } = await makeDatabases(servers)
    releases.push(drop)
    const [catalog, metrics] = [connect(urls.catalog), connect(urls.metrics)]
    releases.push(() => Promise.all([catalog.stop(), metrics.stop()]))
    const env = {
      ...process.env,
      ...connectionsOf({ ...servers, catalogDatabaseUrl: urls.catalog, metricsDatabaseUrl: urls.metrics }),
      LOG_LEVEL: 'info',
    }
    const kafka = {
      brokers: parseBrokers(servers.kafkaBrokers),
      clientId: 'likewise-bench',
      requestTimeoutMs: 30_000,
      log,
    }
    const bareTopic = await prepareBareTopic(kafka)
    await prepareTopics(servers.kafkaBrokers, log)
    await requireEmptyTopic(kafka)
    const withService = serviceRunner(home, env)
    const databases = { catalog, catalogUrl: urls.catalog, metrics }
    return await work({
      servers,
      home,
      ...databases,
      kafka,
      bareTopic,
      env,
      log,
      tell,
      stopping,
      withService,
    })
  } finally {
    for (const release of releases.reverse()) {
      await release().catch((error: unknown) => {
        log.warn({ err: error }, 'not cleared away')
      })
    }
  }
}

function serviceRunner(home: string, env: Readonly<Record<string, string | undefined>>): Bed['withService'] {
  let started = 0
  return async (app, own, work) => {
    started += 1
    const plan = { app, name: `${app}-${String(started)}`, port: await freePort(), env: own }
    const service = await startService({ home, plan, env })
    try {
      return await Promise.race([work(service), died(service)])
    } finally {
      await stopService(service)
    }
  }
}

/** Rejects when the service ends while it is measured: waiting for its numbers would only run into a time limit. */
async function died(service: RunningService): Promise<never> {
  await service.process.exited
  throw new Error(`${service.plan.name} ended:\n${await service.process.outputTail()}`)
}

/** One fresh, migrated database per server, so that named servers keep nothing of the benchmark. */
async function makeDatabases(servers: Servers) {
  const name = `likewise_bench_${randomBytes(6).toString('hex')}`
  const made = new Map<string, string>()
  const inServer = async (url: string): Promise<string> => {
    const fresh = new URL(url)
    const admin = url
    fresh.pathname = `/${name}`
    if (made.has(fresh.host)) return fresh.href
    await onServer(admin, `create database ${name}`)
    made.set(fresh.host, admin)
    await migrate(fresh.href)
    return fresh.href
  }
  const drop = async () => {
    for (const admin of made.values()) await onServer(admin, `drop database if exists ${name} with (force)`)
  }
  try {
    const catalog = await inServer(servers.catalogDatabaseUrl)
    return { urls: { catalog, metrics: await inServer(servers.metricsDatabaseUrl) }, drop }
  } catch (error) {
    await drop()
    throw error
  }
}

async function onServer(url: string, statement: string): Promise<void> {
  const admin = connect(url)
  try {
    await admin.execute(raw(statement))
  } finally {
    await admin.stop()
  }
}

const connect = (url: string): Database =>
  connectDatabase({
    url,
    poolSizeMax: 5,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 60_000,
    applicationName: 'likewise-bench',
  })

async function prepareBareTopic(kafka: KafkaOptions): Promise<string> {
  const topic = 'likewise-bench-bare'
  const retentionMs = 3_600_000
  await ensureTopics(kafka, [
    { topic, partitions: catalogEventsPartitions, replicationFactor: 1, retentionMs },
  ])
  await readEnds(kafka, topic)
  return topic
}

const leadersLimitMs = 15_000

/** The ends of a topic that may be a moment old: partitions have no leader until the broker has heard of them. */
async function readEnds(kafka: KafkaOptions, topic: string): ReturnType<typeof readTopicEnds> {
  const deadlineMs = performance.now() + leadersLimitMs
  for (;;) {
    try {
      return await readTopicEnds(kafka, topic)
    } catch (error) {
      if (!(error instanceof Failure && error.retryable) || performance.now() > deadlineMs) throw error
      await pause(100)
    }
  }
}

/** The topic's name is a constant of the contract, so a topic of one's own is not to be had. */
async function requireEmptyTopic(kafka: KafkaOptions): Promise<void> {
  const ends = await readEnds(kafka, topics.catalogEvents)
  const records = ends.reduce((sum, { start, end }) => sum + Number(end - start), 0)
  if (records === 0) return
  throw new Failure(
    'CONFIG_INVALID',
    `Topic ${topics.catalogEvents} of ${kafka.brokers.join(',')} holds ${String(records)} records: the benchmark needs ` +
      'an empty one. Delete it, or unset KAFKA_BROKERS and the database URLs to use local servers.',
  )
}
