import { mkdir } from 'node:fs/promises'
import { Failure } from '@likewise/service'
import type { Logger } from '@likewise/service'
import { dockerAnswers } from './container-engine.ts'
import { startContainers } from './containers.ts'
import { startEmbeddedKafka } from './embedded-kafka.ts'
import { startEmbeddedPostgres } from './embedded-postgres.ts'
import { endLeftovers } from './leftovers.ts'
import type { LocalServer } from './local-server.ts'
import { together } from './together.ts'

const kinds = ['env', 'containers', 'embedded'] as const
export type ServersKind = (typeof kinds)[number]

export interface Servers {
  kind: ServersKind
  catalogDatabaseUrl: string
  metricsDatabaseUrl: string
  kafkaBrokers: string
  /** Absent when the servers are somebody else's (`env`). */
  postgres?: LocalServer
  kafka?: LocalServer
  /** Ends what was started here; servers named in the environment stay. */
  stop(): Promise<void>
}

interface StartOptions {
  /** The directory that holds data, logs and records; made if missing. */
  home: string
  log: Logger
  env: NodeJS.ProcessEnv
}

/**
 * PostgreSQL and Kafka, ready: those named in the environment, else containers, else embedded ones; LIKEWISE_SERVERS
 * forces one kind. What an earlier, killed run of this home left behind is ended first. Nothing stays half-started.
 */
export async function startServers(options: {
  home: string
  log: Logger
  env?: NodeJS.ProcessEnv
}): Promise<Servers> {
  const start: StartOptions = { env: process.env, ...options }
  const forced = readForcedKind(start.env)
  const named = readNamedServers(start.env, forced)
  await mkdir(start.home, { recursive: true })
  const ended = await endLeftovers(start.home)
  if (ended.length > 0)
    start.log.info({ processes: ended.map(({ name }) => name) }, 'Leftovers of a killed run ended')
  if (named !== undefined) return named
  if (forced === 'embedded') return startEmbedded(start)
  if (forced === 'containers') return startInContainers(start)
  return startWhatIsThere(start)
}

/** Containers only if the images are there as well: an engine without a registry is no reason to fail. */
async function startWhatIsThere(options: StartOptions): Promise<Servers> {
  if (!(await dockerAnswers())) return startEmbedded(options)
  try {
    return await startInContainers(options)
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'MISSING_TOOL') throw error
    options.log.info({ reason: error.message }, 'Containers are not to be had: starting embedded servers')
    return startEmbedded(options)
  }
}

async function startInContainers(options: StartOptions): Promise<Servers> {
  const containers = await startContainers(options)
  const { postgres, kafka } = containers
  return {
    kind: 'containers',
    catalogDatabaseUrl: postgres.url,
    metricsDatabaseUrl: postgres.url,
    kafkaBrokers: kafka.brokers,
    postgres,
    kafka,
    stop: () => containers.stop(),
  }
}

async function startEmbedded(options: StartOptions): Promise<Servers> {
  const [postgres, kafka] = await together(
    [() => startEmbeddedPostgres(options), () => startEmbeddedKafka(options)],
    (server) => server.stop(),
  )
  return {
    kind: 'embedded',
    catalogDatabaseUrl: postgres.url,
    metricsDatabaseUrl: postgres.url,
    kafkaBrokers: kafka.brokers,
    postgres,
    kafka,
    async stop() {
      await Promise.all([postgres.stop(), kafka.stop()])
    },
  }
}

function readForcedKind(env: NodeJS.ProcessEnv): ServersKind | undefined {
  const value = env['LIKEWISE_SERVERS']
  if (!value) return undefined
  const kind = kinds.find((known) => known === value)
  if (kind !== undefined) return kind
  throw new Failure(
    'CONFIG_INVALID',
    `LIKEWISE_SERVERS is "${value}"; it must be one of ${kinds.join(', ')}, or unset.`,
  )
}

/** The servers named in the environment, if they are wanted. An empty variable counts as unset. */
function readNamedServers(env: NodeJS.ProcessEnv, forced: ServersKind | undefined): Servers | undefined {
  if (forced === 'containers' || forced === 'embedded') return undefined
  const names = ['CATALOG_DATABASE_URL', 'METRICS_DATABASE_URL', 'KAFKA_BROKERS'] as const
  const [catalogDatabaseUrl, metricsDatabaseUrl, kafkaBrokers] = names.map((name) => env[name])
  if (catalogDatabaseUrl && metricsDatabaseUrl && kafkaBrokers) {
    return {
      kind: 'env',
      catalogDatabaseUrl,
      metricsDatabaseUrl,
      kafkaBrokers,
      stop: () => Promise.resolve(),
    }
  }
  const missing = names.filter((name) => !env[name])
  if (forced === undefined && missing.length === names.length) return undefined
  throw new Failure(
    'CONFIG_INVALID',
    `${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} not set: servers are taken from the environment only if ${names.join(', ')} are all set.`,
    { details: { missing } },
  )
}
