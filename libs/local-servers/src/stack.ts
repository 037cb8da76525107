import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { topicPlans } from '@likewise/events'
import { ensureTopics } from '@likewise/kafka'
import {
  Failure,
  KafkaConfig,
  type Logger,
  parseBrokers,
  pause,
  readConfig,
  readKafka,
} from '@likewise/service'
import { endOwn } from './leftovers.ts'
import type { LocalServer } from './local-server.ts'
import { type Servers, startServers } from './servers.ts'
import { isHeld } from './server-hold.ts'
import { type App, type RunningService, startService, stopService } from './services.ts'
import { type StackPlan, servicePlans } from './stack-plan.ts'
import { prepareDatabases } from './stack-databases.ts'
import { until } from './until.ts'

export interface Stack {
  readonly servers: Servers
  readonly services: readonly RunningService[]
  /** like-api first, servers last: each part still has what it needs to finish. Data is kept. */
  stop(): Promise<void>
}

export interface StackOptions {
  home: string
  plan: StackPlan
  log: Logger
  env: Readonly<Record<string, string | undefined>>
  /** Told when a step begins, for people who wait; returns what to call when it is done. */
  step: (what: string) => () => void
  /** Gives the start up: what has begun is stopped, then the signal's reason is thrown. */
  signal?: AbortSignal | undefined
}

/** Everything, in the order it needs each other; whatever fails, nothing stays half-started. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { home, plan, log, step, signal } = options
  signal?.throwIfAborted()
  const started = step('PostgreSQL and Kafka (fetched the first time)')
  const servers = await orEnded({
    start: startServers({ home, log, env: options.env }),
    home,
    log,
    signal,
  }).catch((error: unknown) => {
    signal?.throwIfAborted()
    throw error
  })
  const services: RunningService[] = []
  const watching = new AbortController()
  const supervisors: Promise<void>[] = []

  async function stop(): Promise<void> {
    watching.abort()
    // One of them may be starting a service again just now; it gives that up.
    await Promise.all(supervisors)
    for (const app of ['like-api', 'outbox-relay', 'metrics-consumer', 'metrics-api'] satisfies App[]) {
      await Promise.all(services.filter((service) => service.plan.app === app).map(stopService))
    }
    await servers.stop()
  }

  try {
    signal?.throwIfAborted()
    started()
    const migrated = step('tables')
    const databasesOf = await prepareDatabases(servers, { env: options.env, signal })
    migrated()
    const made = step('topics')
    const kafka = kafkaEnv(servers)
    const access = readKafka(readConfig(KafkaConfig, { ...options.env, ...kafka }))
    await ensureTopics({ ...access, ...topicsClient, log }, topicPlans).catch((error: unknown) => {
      throw namingBrokers(servers, error)
    })
    signal?.throwIfAborted()
    made()
    const envOf = (app: App) => ({
      ...options.env,
      ...databasesOf(app),
      ...kafka,
    })
    await writeConnections(home, servers)
    const ready = step('services')
    // Together: on two cores they start no slower than one by one, and the last is ready sooner.
    const results = await Promise.allSettled(
      servicePlans(plan).map(async (service) =>
        services.push(await startService({ home, plan: service, env: envOf(service.app), signal })),
      ),
    )
    const failed = results.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
    signal?.throwIfAborted()
    ready()
    services.sort((a, b) => a.plan.name.localeCompare(b.plan.name))
    const stopping = watching.signal
    services.forEach((_, index) =>
      supervisors.push(superviseService({ services, index, home, envOf, log, stopping })),
    )
    for (const name of ['postgres', 'kafka'] as const) {
      const server = servers[name]
      if (server) supervisors.push(superviseServer({ name, server, home, log, stopping }))
    }
  } catch (error) {
    await stop()
    signal?.throwIfAborted()
    throw error
  }
  return { servers, services, stop }
}

/** A fault of somebody else's server is mended by looking at the variable that names it. */
function namingBrokers({ kind }: Servers, error: unknown): unknown {
  if (kind !== 'env' || !(error instanceof Failure)) return error
  return new Failure(error.code, `KAFKA_BROKERS: ${error.message}`, { cause: error, details: error.details })
}

/**
 * Waits for servers that are started; when `signal` aborts, their processes are ended, which ends the wait for their
 * answer: it could take a minute and a half.
 */
async function orEnded<T>(options: {
  start: Promise<T>
  home: string
  name?: string
  log: Logger
  signal: AbortSignal | undefined
}): Promise<T> {
  const { start, home, name, log, signal } = options
  let settled = false
  let ending: Promise<void> | undefined
  const isSettled = () => settled
  const endAll = () => {
    // More than once: what is started may come after the signal.
    ending = until(async () => isSettled() || (await endOwn(home, name).then(isSettled)), endedMs).then(
      () => undefined,
      (error: unknown) => {
        log.warn({ err: error }, 'servers not ended')
      },
    )
  }
  signal?.addEventListener('abort', endAll, { once: true })
  try {
    return await start
  } finally {
    settled = true
    signal?.removeEventListener('abort', endAll)
    await ending
  }
}

const topicsClient = { clientId: 'likewise-topics', requestTimeoutMs: 10_000 }

/** Creates both topics if they are missing. */
export async function prepareTopics(kafkaBrokers: string, log: Logger): Promise<void> {
  await ensureTopics({ brokers: parseBrokers(kafkaBrokers), ...topicsClient, log }, topicPlans)
}

/** A broker of our own asks nobody who he is, whatever a .env says about another one. */
function kafkaEnv({ kind, kafkaBrokers }: Servers): Record<string, string> {
  if (kind === 'env') return { KAFKA_BROKERS: kafkaBrokers }
  const settings = Object.keys(KafkaConfig.properties).flatMap((name) => [name, `${name}_FILE`])
  return { ...Object.fromEntries(settings.map((name) => [name, ''])), KAFKA_BROKERS: kafkaBrokers }
}

export function connectionsOf(servers: Servers): Record<string, string> {
  return {
    CATALOG_DATABASE_URL: servers.catalogDatabaseUrl,
    METRICS_DATABASE_URL: servers.metricsDatabaseUrl,
    KAFKA_BROKERS: servers.kafkaBrokers,
  }
}

/** For `npx likewise`, the demo, and anybody's own tools. Only the owner may read it: it holds a password. */
export async function writeConnections(home: string, servers: Servers): Promise<void> {
  await mkdir(home, { recursive: true })
  const lines = Object.entries(connectionsOf(servers)).map(([name, value]) => `${name}=${value}\n`)
  await writeFile(join(home, 'env'), lines.join(''), { mode: 0o600 })
}

// Long enough not to spin when a service cannot start, short enough for a demo.
const restartMs = 1_000
// As long as Maven may take to fetch Kafka: until then there may be one more process to end.
const endedMs = 600_000

/** What a platform does: a service that ends by itself is started again. */
async function superviseService(options: {
  services: RunningService[]
  index: number
  home: string
  envOf: (app: App) => Readonly<Record<string, string | undefined>>
  log: Logger
  stopping: AbortSignal
}): Promise<void> {
  const { services, index, home, envOf, log, stopping } = options
  const stopped = new Promise<undefined>((resolve) => {
    stopping.addEventListener('abort', () => resolve(undefined), { once: true })
  })
  const ended = () => stopping.aborted
  for (;;) {
    const service = services[index]
    if (!service) return
    const exit = await Promise.race([service.process.exited, stopped])
    if (!exit) return
    log.warn(
      { service: service.plan.name, ...exit, logFile: service.logFile },
      'service ended, starting it again',
    )
    while (services[index] === service) {
      await pause(restartMs, stopping)
      if (ended()) return
      await startService({ home, plan: service.plan, env: envOf(service.plan.app), signal: stopping }).then(
        (started) => (services[index] = started),
        (error: unknown) => {
          if (!ended()) log.warn({ err: error, service: service.plan.name }, 'service not started')
        },
      )
    }
  }
}

/**
 * A server that ends is started again, unless `<home>/<name>.hold` holds it down: whoever stops it on purpose (the demo,
 * see stopServerForAWhile; a person by hand) makes that file and removes it when the server may come back.
 */
async function superviseServer(options: {
  name: string
  server: LocalServer
  home: string
  log: Logger
  stopping: AbortSignal
}): Promise<void> {
  const { name, server, home, log, stopping } = options
  const isUp = () => server.pid !== undefined
  if (!isUp()) return // a container: its engine's business
  const ended = () => stopping.aborted
  while (!ended()) {
    await pause(restartMs, stopping)
    if (ended() || isUp() || isHeld(home, name)) continue
    log.warn({ server: name }, 'server ended, starting it again')
    await orEnded({ start: server.start(), home, name, log, signal: stopping }).catch((error: unknown) => {
      if (!ended()) log.warn({ err: error, server: name }, 'server not started')
    })
  }
}
