import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Failure } from '@likewise/service'
import { portIsFree } from './ports.ts'
import { type RunningProcess, startProcess } from './processes.ts'
import { until } from './until.ts'

/** The checkout: two levels above src/ or dist/ is the package, two more the root. */
export const workspaceRoot = fileURLToPath(new URL('../../../', import.meta.url))

export const portVariables = {
  'like-api': 'LIKE_API_PORT',
  'outbox-relay': 'RELAY_PORT',
  'metrics-consumer': 'CONSUMER_PORT',
  'metrics-api': 'METRICS_API_PORT',
} as const

// A service idles at 100 MB and keeps little, but V8 lets garbage pile up to a multiple of what lives, and glibc gives each
// of its threads an arena. With Node's own choice (16 MB per semi-space) the relay took 250 MB to drain 100,000 events. With
// 8 MB, an old generation that may grow by half between collections, and one arena (MALLOC_ARENA_MAX=1, below) it takes
// 140; 2 MB instead of 8 saved 10 MB and cost 1.2 times the CPU time, since kafkajs makes ten buffers for a record.
// kafkajs 2.2.4 sets a negative timer at every connect, of which Node >= 24 warns (tulios/kafkajs#1751).
export const nodeFlags = [
  '--max-semi-space-size=8',
  '--heap-growing-percent=50',
  '--disable-warning=TimeoutNegativeWarning',
]

export type App = keyof typeof portVariables

export interface ServicePlan {
  app: App
  /** Unique in the home, for example `outbox-relay-2`. */
  name: string
  port: number
  /** Where the app is built: this checkout, unless it is one of another release. */
  root?: string
  /** Settings of this instance, over those of the environment. */
  env?: Readonly<Record<string, string>>
}

export interface RunningService {
  readonly plan: ServicePlan
  readonly url: string
  readonly process: RunningProcess
  readonly logFile: string
}

/** Where its readiness is asked, whatever address a .env has for services that run by themselves. */
const loopback = {
  LIKE_API_HOST: '127.0.0.1',
  RELAY_HOST: '127.0.0.1',
  CONSUMER_HOST: '127.0.0.1',
  METRICS_API_HOST: '127.0.0.1',
}

// A cold start is 0.5 s of CPU; on two busy cores with six others it has taken 8 s.
const readyMs = 60_000
// Above SHUTDOWN_TIMEOUT_MS, so that an orderly stop ends by itself.
const stopMs = 15_000

/** Starts an app as a process of its own and waits until it is ready, or until `signal` aborts: then it is stopped. */
export async function startService(options: {
  home: string
  plan: ServicePlan
  env: Readonly<Record<string, string | undefined>>
  signal?: AbortSignal | undefined
}): Promise<RunningService> {
  const { home, plan, signal } = options
  const root = plan.root ?? workspaceRoot
  const main = join(root, 'apps', plan.app, 'dist', 'main.js')
  if (!existsSync(main)) throw new Failure('MISSING_TOOL', `${plan.app} is not built. Run: npm run build`)
  const variable = portVariables[plan.app]
  if (!(await portIsFree(plan.port))) {
    throw new Failure(
      'PORT_IN_USE',
      `Port ${String(plan.port)} (${plan.name}) is in use; set ${variable} to a free one.`,
    )
  }
  signal?.throwIfAborted()
  const logFile = join(home, 'logs', `${plan.name}.log`)
  const child = await startProcess({
    home,
    name: plan.name,
    command: process.execPath,
    args: [...nodeFlags, main],
    cwd: root,
    env: { MALLOC_ARENA_MAX: '1', ...options.env, ...plan.env, ...loopback, [variable]: String(plan.port) },
    logFile,
  })
  const url = `http://127.0.0.1:${String(plan.port)}`
  const isSettled = async () => signal?.aborted === true || child.hasExited() || (await isReady(url))
  const ready = await until(isSettled, readyMs)
  if (signal?.aborted) {
    await child.stop('SIGTERM', stopMs)
    signal.throwIfAborted()
  }
  if (child.hasExited() || !ready) {
    const said = (await child.outputTail()).trim()
    if (!child.hasExited()) await child.stop('SIGKILL', 0)
    throw new Failure('CONFIG_INVALID', `${plan.name} did not become ready (log: ${logFile}):\n${said}`)
  }
  return { plan, url, process: child, logFile }
}

export async function stopService(service: RunningService): Promise<void> {
  await service.process.stop('SIGTERM', stopMs)
}

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) })
    await response.body?.cancel()
    return response.ok
  } catch {
    return false // not listening yet
  }
}
