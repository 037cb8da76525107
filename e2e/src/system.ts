import { randomInt } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, connectDatabase } from '@likewise/database'
import {
  type App,
  type RunningService,
  type Stack,
  type StackPlan,
  portIsFree,
  removeHome,
  startStack,
  until,
} from '@likewise/local-servers'
import { buildLogger } from '@likewise/service'

/** The whole of Likewise as processes, with servers of its own, for one spec file. */
export interface System {
  readonly home: string
  readonly stack: Stack
  readonly apis: readonly string[]
  readonly metricsApi: string
  readonly catalog: Database
  readonly metrics: Database
  service(name: string): RunningService
  stop(): Promise<void>
}

const log = buildLogger({ service: 'e2e', level: 'silent' })

/** Servers that a test has started, and that it stops: the variables that name them. */
export type OwnServers = Readonly<
  Record<'CATALOG_DATABASE_URL' | 'METRICS_DATABASE_URL' | 'KAFKA_BROKERS', string> &
    Partial<Record<'CATALOG_DATABASE_DIRECT_URL' | 'METRICS_DATABASE_DIRECT_URL', string>>
>

export async function startSystem(
  counts: Partial<Omit<StackPlan, 'ports'>> = {},
  servers?: OwnServers,
): Promise<System> {
  const home = await mkdtemp(join(tmpdir(), 'likewise-e2e-'))
  // The servers of the other tests are in the environment; here they are stopped and killed, so they must be our own.
  const {
    CATALOG_DATABASE_URL: _c,
    METRICS_DATABASE_URL: _m,
    KAFKA_BROKERS: _k,
    NODE_OPTIONS: _n,
    ...env
  } = process.env
  const stack = await startStack({
    home,
    plan: { likeApis: 2, relays: 2, consumers: 2, ...counts, ports: await freePorts() },
    log,
    env: {
      ...env,
      RELAY_LEASE_MS: '2000',
      LOG_LEVEL: 'info',
      ...(servers && { ...servers, LIKEWISE_SERVERS: 'env' }),
    },
    step: () => () => undefined,
  })
  // What a test looks at, it sees without the pooler that it may kill.
  const catalog = connect(servers?.CATALOG_DATABASE_DIRECT_URL ?? stack.servers.catalogDatabaseUrl)
  const metrics = connect(servers?.METRICS_DATABASE_DIRECT_URL ?? stack.servers.metricsDatabaseUrl)
  const urls = (app: App) => stack.services.filter(({ plan }) => plan.app === app).map(({ url }) => url)
  return {
    home,
    stack,
    apis: urls('like-api'),
    metricsApi: urls('metrics-api')[0] ?? '',
    catalog,
    metrics,
    service(name) {
      const found = stack.services.find(({ plan }) => plan.name === name)
      if (!found) throw new Error(`no service ${name}`)
      return found
    },
    async stop() {
      await Promise.all([catalog.stop(), metrics.stop()])
      await stack.stop()
      await removeHome(home)
    },
  }
}

/** kill -9, as a machine that loses power would end it. The stack's supervisor starts it again. */
export async function kill(system: System, name: string): Promise<void> {
  await system.service(name).process.stop('SIGKILL', 0)
}

/** Waits until `check` holds; then the test's own assertion says what was found. */
export async function eventually(check: () => Promise<boolean>, withinMs = 30_000): Promise<void> {
  if (await until(check, withinMs)) return
  throw new Error(`Still not so after ${withinMs} ms: ${check.toString()}`)
}

function connect(url: string): Database {
  return connectDatabase({
    url,
    poolSizeMax: 3,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 30_000,
    applicationName: 'likewise-e2e',
  })
}

/** A block of ports below the ephemeral range, four apps of up to eight instances. */
export async function freePorts(): Promise<Record<App, number>> {
  for (;;) {
    const base = randomInt(10_000, 19_000)
    const ports = Array.from({ length: 32 }, (_, i) => base + i)
    if ((await Promise.all(ports.map(portIsFree))).every(Boolean)) {
      return {
        'like-api': base,
        'metrics-api': base + 8,
        'outbox-relay': base + 16,
        'metrics-consumer': base + 24,
      }
    }
  }
}
