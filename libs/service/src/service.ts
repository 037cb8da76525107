import type { DestinationStream } from 'pino'
import { Type } from 'typebox'
import type { Static, TObject } from 'typebox'
import { durationMs, loadDotenv, LogLevel, readConfig } from './config.ts'
import { Failure } from './failure.ts'
import { buildLogger, maskPasswords } from './logger.ts'
import type { Logger } from './logger.ts'
import { buildReleasers } from './releasers.ts'
import { buildTelemetry } from './telemetry.ts'
import type { Telemetry } from './telemetry.ts'
import { version } from './version.ts'

/** Settings every service has. */
export const baseSchema = Type.Object({
  LOG_LEVEL: LogLevel,
  SHUTDOWN_TIMEOUT_MS: durationMs(
    10_000,
    'Longest orderly stop; what is not released by then is left behind',
  ),
})

export type Service<S extends TObject = TObject> = {
  config: Static<S> & Static<typeof baseSchema>
  log: Logger
  telemetry: Telemetry
  /** Aborted once, by a signal or by the death of a part: take no new work, finish what is in hand. */
  stopping: AbortSignal
  /** Registers what to release at the end; last deferred, first released. */
  defer: (name: string, release: () => unknown) => void
  /** A part has died for good: everything is stopped and the process exits 1, for the platform to start it again. */
  fail: (error: unknown) => void
}

export type ServiceSpec<S extends TObject> = {
  name: string
  schema: S
  /** Connects and starts the parts, then returns; it must heed `stopping` when it waits for anything. */
  start: (service: Service<S>) => Promise<void>
}

type Signal = 'SIGTERM' | 'SIGINT'

/** What a service needs of its process; a stand-in in tests. */
export type Host = {
  env: NodeJS.ProcessEnv | undefined
  logTo?: DestinationStream
  onSignal: (listener: (signal: Signal) => void) => void
  onBug: (listener: (error: unknown) => void) => void
  complain: (line: string) => void
  exit: (code: number) => void
}

/** The entry of every main.ts. */
export async function runService<S extends TObject>(spec: ServiceSpec<S>): Promise<void> {
  await startService(spec, {
    env: undefined,
    onSignal: (listener) => {
      process.on('SIGTERM', listener)
      process.on('SIGINT', listener)
    },
    onBug: (listener) => {
      process.on('uncaughtException', listener)
      process.on('unhandledRejection', listener)
    },
    complain: (line) => void process.stderr.write(`${line}\n`),
    exit: (code) => process.exit(code),
  })
}

/**
 * Start, and stop in two steps: the first signal aborts `stopping`, waits for a start still under way, then releases
 * LIFO and exits 0; a second signal exits 1 at once, and so does a stop that lasts longer than SHUTDOWN_TIMEOUT_MS.
 */
export async function startService<S extends TObject>(spec: ServiceSpec<S>, host: Host): Promise<void> {
  const config = configOf(spec, host)
  if (!config) {
    host.exit(1)
    return
  }
  const log = buildLogger({ service: spec.name, level: config.LOG_LEVEL }, host.logTo)
  const releasers = buildReleasers(log)
  const stopping = new AbortController()
  let exitCode = 0
  let exited = false
  let overdue: NodeJS.Timeout | undefined
  let started: Promise<void> = Promise.resolve()

  const exit = (code: number) => {
    if (exited) return
    exited = true
    clearTimeout(overdue)
    host.exit(code)
  }
  const stop = async (code: number) => {
    exitCode = Math.max(exitCode, code)
    if (stopping.signal.aborted) return
    const begunMs = performance.now()
    overdue = setTimeout(() => {
      log.error({ orphans: releasers.orphans(), timeoutMs: config.SHUTDOWN_TIMEOUT_MS }, 'stop took too long')
      exit(1)
    }, config.SHUTDOWN_TIMEOUT_MS)
    stopping.abort()
    await Promise.resolve() // a part may die within start's own first turn, before `started` is set
    await started
    await releasers.releaseAll()
    log.info({ durationMs: Math.round(performance.now() - begunMs) }, 'stopped')
    exit(exitCode)
  }
  const fail = (err: unknown) => {
    log.fatal({ err }, 'a part died, stopping')
    void stop(1)
  }

  let signals = 0
  host.onSignal((signal) => {
    signals += 1
    log.info({ signal }, signals === 1 ? 'stopping' : 'second signal, leaving at once')
    if (signals === 1) void stop(0)
    else exit(1)
  })
  host.onBug(fail)

  const start = async () => {
    const telemetry = buildTelemetry(spec.name)
    const defer: Service['defer'] = (name, release) => releasers.defer(name, release)
    await spec.start({ config, log, telemetry, stopping: stopping.signal, defer, fail })
  }
  started = start().then(
    () => {
      log.info({ version }, stopping.signal.aborted ? 'start was cut short' : 'started')
    },
    (error: unknown) => {
      // Waiting for something that the stop has cut off is no fault of its own.
      if (stopping.signal.aborted && signals > 0) {
        log.info({ err: error }, 'start was cut short')
        return
      }
      if (error instanceof Failure) host.complain(sentence(spec.name, error))
      else log.fatal({ err: error }, 'start failed')
      void stop(1)
    },
  )
  await started
}

function configOf<S extends TObject>(spec: ServiceSpec<S>, host: Host): Service<S>['config'] | undefined {
  try {
    if (!host.env) loadDotenv()
    const schema = Type.Object({ ...spec.schema.properties, ...baseSchema.properties })
    return readConfig(schema, host.env) as Service<S>['config']
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    host.complain(sentence(spec.name, error))
    return undefined
  }
}

function sentence(name: string, failure: Failure): string {
  return maskPasswords(`${name}: ${failure.message}`)
}
