import { spawn } from 'node:child_process'
import { workspaceRoot } from '@likewise/local-servers'
import { Failure, pause } from '@likewise/service'
import type { ContextOptions, StopKafka } from './context.ts'

type Env = Readonly<Record<string, string | undefined>>

/** What of a compose stack can be reached from this machine, by the variables that docker-compose.yml reads. */
export function composeStack(env: Env): Omit<ContextOptions, 'narrate' | 'signal'> {
  const port = (name: string, fallback: number) => `127.0.0.1:${env[name] || fallback}`
  const url = `http://${port('LIKEWISE_PORT', 8080)}`
  const database = `postgres://likewise:${env['POSTGRES_PASSWORD'] || 'likewise'}@${port('LIKEWISE_POSTGRES_PORT', 54320)}/likewise`
  return {
    likeApis: [url, url], // nginx hands each request to the next replica
    metricsApi: url,
    stopKafka: stopKafka(env),
    catalogDatabaseUrl: database,
    metricsDatabaseUrl: database,
    kafkaBrokers: port('LIKEWISE_KAFKA_PORT', 29092),
    env: process.env,
  }
}

/** What of a shell would change which project and which files are meant. */
export const cleanComposeEnv: Env = {
  NODE_OPTIONS: undefined,
  COMPOSE_FILE: undefined,
  COMPOSE_PROFILES: undefined,
  POSTGRES_PASSWORD: undefined,
  AUTH_MODE: undefined,
}

/** Runs `docker compose …` on the project; its complaints become the Failure's sentence. */
export const compose = (env: Env, ...args: string[]): Promise<string> => docker(env, 'compose', ...args)

export async function docker(env: Env, ...args: string[]): Promise<string> {
  const child = spawn('docker', args, {
    cwd: workspaceRoot,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [said, complained] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (complained += chunk.toString()))
  const code = await new Promise<number | null>((resolve) => {
    child.on('error', () => resolve(null)) // there is no docker
    child.on('close', resolve)
  })
  if (code === 0) return said
  const why = code === null ? 'there is no docker on this machine' : complained.trim().slice(-2_000)
  throw new Failure('MISSING_TOOL', `docker ${args.join(' ')} failed: ${why}`)
}

/** Whether the stack of docker-compose.yml runs here. */
export async function composeRuns(env: Env): Promise<boolean> {
  const ids = await compose(env, 'ps', '-q', '--status', 'running', 'nginx').catch(() => '')
  return ids.trim() !== ''
}

function stopKafka(env: Env): StopKafka {
  return async () => {
    await compose(env, 'stop', 'kafka')
    let started: Promise<void> | undefined
    return () => (started ??= startKafka(env))
  }
}

async function startKafka(env: Env): Promise<void> {
  await compose(env, 'start', 'kafka')
  while (!(await compose(env, 'ps', 'kafka', '--format', '{{.Health}}')).includes('healthy')) await pause(500)
}
