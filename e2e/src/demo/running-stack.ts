import { join, resolve } from 'node:path'
import {
  ConnectionsConfig,
  StartConfig,
  isClaimed,
  runningServer,
  stopServerForAWhile,
  workspaceRoot,
} from '@likewise/local-servers'
import { Failure, loadDotenv, loadEnvFile, readConfig } from '@likewise/service'
import { composeRuns, composeStack } from './compose-stack.ts'
import type { ContextOptions, DemoContext } from './context.ts'

type RunningStack = Omit<ContextOptions, 'narrate' | 'signal'>

/**
 * Finds the Likewise that `npm start` runs here, else that of docker compose; throws one sentence that says what to do
 * when there is none.
 */
export async function findRunningStack(): Promise<RunningStack> {
  loadDotenv(workspaceRoot)
  const config = readStart()
  const home = resolve(workspaceRoot, config.LIKEWISE_HOME)
  if (!isClaimed(home) && (await composeRuns(process.env))) return composeStack(process.env)
  return findStarted(config, home)
}

const readStart = () => readConfig(StartConfig)

async function findStarted(config: ReturnType<typeof readStart>, home: string): Promise<RunningStack> {
  const written: NodeJS.ProcessEnv = {}
  loadEnvFile(join(home, 'env'), written)
  const env = { ...written, ...process.env }
  const connections = readConnections(env, home)

  const api = (port: number) => `http://127.0.0.1:${port}`
  const [first, second] = [api(config.LIKE_API_PORT), api(config.LIKE_API_PORT + 1)]
  const metricsApi = api(config.METRICS_API_PORT)
  for (const [url, service] of [
    [first, 'like-api'],
    [metricsApi, 'metrics-api'],
  ] as const) {
    if (!(await answersAs(service, url))) throw notRunning(`no ${service} answers at ${url}`)
  }
  return {
    likeApis: (await answersAs('like-api', second)) ? [first, second] : [first],
    metricsApi,
    stopKafka: kafkaStop({
      home,
      isOfHome: written['KAFKA_BROKERS'] === connections.KAFKA_BROKERS,
    }),
    catalogDatabaseUrl: connections.CATALOG_DATABASE_URL,
    metricsDatabaseUrl: connections.METRICS_DATABASE_URL,
    kafkaBrokers: connections.KAFKA_BROKERS,
    env: process.env,
  }
}

function readConnections(env: NodeJS.ProcessEnv, home: string) {
  const names = Object.keys(ConnectionsConfig.properties)
  if (names.some((name) => !env[name])) throw notRunning(`there is no ${join(home, 'env')}`)
  return readConfig(ConnectionsConfig, env)
}

function notRunning(why: string): Failure {
  return new Failure(
    'NOT_FOUND',
    `Likewise is not running here (${why}). Start it in another terminal: npm start (or: docker compose up -d --wait)`,
  )
}

/** Kafka may be stopped only where a living `npm start` of this home runs it, and only if the services use that one. */
function kafkaStop({ home, isOfHome }: { home: string; isOfHome: boolean }): DemoContext['stopKafka'] {
  if (isOfHome && runningServer(home, 'kafka') !== undefined) return () => stopServerForAWhile(home, 'kafka')
  return {
    whyNot:
      'this Kafka is not a process of npm start (it comes from the environment or from a container), so it is not stopped.',
  }
}

async function answersAs(service: string, url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) })
    const index = (await response.json()) as { service?: unknown }
    return index.service === service
  } catch {
    return false // nobody there, or somebody else
  }
}
