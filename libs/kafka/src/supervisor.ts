import { Failure, type Logger, repeat } from '@likewise/service'
import type { LogPosition, Progress } from './progress.ts'
import type { SubscriberTelemetry } from './subscriber-telemetry.ts'
import { type Signs, type Verdict, type WatchdogLimits, awakeMs, judge } from './watchdog.ts'

interface SupervisorOptions {
  limits: WatchdogLimits
  progress: Progress
  telemetry: SubscriberTelemetry
  /** Asks the broker, over a connection of its own. */
  readPositions: () => Promise<LogPosition[]>
  isJoined: () => boolean
  /** Replaces the client. */
  restart: (why: Failure) => void
  /** Ends the process. */
  exit: (why: Failure) => void
  log: Logger
}

// Two requests to the broker and no work for it. Between them a batch tells the end of its log by itself.
const askEveryMs = 5_000
const tickMsMax = 1_000

export type Supervisor = ReturnType<typeof supervise>

/** Watches that a member stays one and gets on, and does what `judge` says. */
export function supervise(options: SupervisorOptions) {
  const { limits, progress, telemetry, log } = options
  const tickMs = Math.min(tickMsMax, limits.silenceMs / 10)
  const askMs = Math.min(askEveryMs, limits.silenceMs / 5)
  const signs: Signs = { memberMs: 0, progressMs: 0, restarts: 0 }
  let clockMs = 0
  let lastMs = performance.now()
  let verdict: Verdict = 'fine'

  const silentMs = (): number => clockMs - Math.min(signs.memberMs, signs.progressMs)
  function outage(): void {
    signs.memberMs = clockMs
    signs.progressMs = clockMs
  }

  function tick(): void {
    const nowMs = performance.now()
    clockMs += awakeMs(nowMs - lastMs, tickMs)
    lastMs = nowMs
    const lag = progress.lag(Date.now())
    telemetry.show(lag, options.isJoined())
    if (lag.records === 0) {
      signs.progressMs = clockMs
      if (lag.known && options.isJoined()) signs.restarts = 0
    }
    act(judge(signs, clockMs, limits), lag.records)
  }

  function act(next: Verdict, records: number): void {
    if (next === 'exit' && verdict === 'exit') return
    if (next !== verdict && next === 'not ready') log.warn({ lag: records }, sentence(records, silentMs()))
    verdict = next
    if (next === 'restart') {
      const why = new Failure('CONSUMER_STUCK', `${sentence(records, silentMs())} It is replaced.`)
      signs.restarts += 1
      outage()
      telemetry.restarted('watchdog')
      options.restart(why)
    } else if (next === 'exit') {
      const clients = `${String(signs.restarts)} fresh clients`
      options.exit(
        new Failure('CONSUMER_STUCK', `${sentence(records, silentMs())} So it was with ${clients} before.`),
      )
    }
  }

  /** That Kafka does not answer is an outage, whatever the client says. */
  const ask = () =>
    askOnce(progress, options.readPositions).catch((error: unknown) => {
      outage()
      throw error
    })

  const stopTicks = repeat(async () => tick(), { pauseMs: () => tickMs, log, failed: 'watchdog failed' })
  const stopAsking = repeat(ask, { pauseMs: () => askMs, log, failed: 'lag not known' })

  return {
    /** The member said what it waits for. */
    outage,
    beats: () => (signs.memberMs = clockMs),
    handled(): void {
      signs.progressMs = clockMs
      signs.restarts = 0
    },
    /** A batch came and met an outage: the client works. */
    waits(): void {
      outage()
      signs.restarts = 0
    },
    /** Why this member is not to be counted on, or null. */
    fault(): string | null {
      if (verdict === 'fine') return null
      if (signs.restarts === 0) return sentence(progress.lag(Date.now()).records, silentMs())
      const times = `${String(signs.restarts)} of ${String(limits.restartsMax)} times`
      return `The Kafka client got nowhere and was replaced (${times}).`
    },
    stop: () => Promise.all([stopTicks(), stopAsking()]),
  }
}

async function askOnce(progress: Progress, readPositions: () => Promise<LogPosition[]>): Promise<void> {
  const asked = progress.generation()
  const positions = await readPositions()
  if (asked === progress.generation()) progress.told(positions, Date.now())
}

function sentence(records: number, silentMs: number): string {
  const waiting = records > 0 ? `${String(records)} records wait, and the` : 'The'
  return `${waiting} Kafka client has got nowhere for ${(silentMs / 1000).toFixed(0)} s.`
}
