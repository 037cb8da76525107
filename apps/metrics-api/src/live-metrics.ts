import type { Database } from '@likewise/database'
import type { CountedThrough } from '@likewise/inbox'
import { readStates } from '@likewise/metrics'
import { type EventStream, Failure, type Logger, type Telemetry, pause } from '@likewise/service'
import { type Watcher, buildWatchers } from './watchers.ts'

export interface LiveMetricsOptions {
  db: Database
  log: Logger
  telemetry: Telemetry
  /** From one look at the watched products to the next. */
  tickMs: number
  /** Streams of this process. */
  streamsMax: number
  countedThrough: (productIds: readonly number[]) => Promise<CountedThrough>
}

type OpenStream = (onClose: (reason: 'closed' | 'stuck') => void) => EventStream

// While the database is away: to notice that it is back, and no more.
const outageTickMsMin = 1_000

/**
 * Tells the watchers of a product its metrics: at once, and when they change. All share one loop, which reads what is
 * watched by two statements per tick and rests while nobody watches.
 */
export function buildLiveMetrics({
  db,
  log,
  telemetry,
  tickMs,
  streamsMax,
  countedThrough,
}: LiveMetricsOptions) {
  const counted = liveTelemetry(telemetry)
  const watchers = buildWatchers()
  const stopping = new AbortController()
  let streams = 0
  let outage: unknown
  let polling: Promise<void> | undefined

  function watch(productId: number, lastEventId: string | undefined, openStream: OpenStream): void {
    if (streams >= streamsMax || stopping.signal.aborted) {
      counted.ended.inc({ reason: 'refused' })
      throw new Failure('TOO_MANY_STREAMS', `${streams} streams are open.`)
    }
    const watcher: Watcher = { stream: undefined, version: lastEventId, isStale: false }
    watchers.add(productId, watcher)
    counted.open.set((streams += 1))
    watcher.stream = openStream((reason) => {
      watchers.remove(productId, watcher)
      counted.open.set((streams -= 1))
      counted.ended.inc({ reason })
    })
    startPolling()
  }

  function startPolling(): void {
    if (streams === 0 || stopping.signal.aborted) return
    polling ??= poll().finally(() => {
      polling = undefined
      startPolling() // for whoever came between the loop's last look and now
    })
  }

  async function poll(): Promise<void> {
    while (streams > 0 && !stopping.signal.aborted) {
      const end = counted.pollSeconds.startTimer()
      await look()
      end()
      await pause(outage === undefined ? tickMs : Math.max(tickMs, outageTickMsMin), stopping.signal)
    }
  }

  async function look(): Promise<void> {
    try {
      const productIds = watchers.productIds()
      const through = await countedThrough(productIds)
      for (const state of await readStates(db, productIds)) {
        watchers.tell(state, through.of(String(state.metrics.productId)))
      }
      if (outage !== undefined) log.info('streams are fresh again')
      outage = undefined
    } catch (error) {
      const level = error instanceof Failure && error.retryable ? 'warn' : 'error'
      if (outage === undefined && !stopping.signal.aborted) log[level]({ err: error }, 'streams are stale')
      outage = error
      watchers.tellStale()
    }
  }

  return {
    watch,
    /** Ends every stream in order; clients come back to whoever serves then. */
    async stop(): Promise<void> {
      stopping.abort()
      watchers.endAll()
      await polling
    },
  }
}

function liveTelemetry(telemetry: Telemetry) {
  return {
    open: telemetry.gauge('likewise_metrics_streams', 'Streams that are open.'),
    ended: telemetry.counter(
      'likewise_metrics_streams_ended_total',
      'Streams that ended, by why: closed, stuck (a client that does not read), refused (too many).',
      ['reason'],
    ),
    pollSeconds: telemetry.histogram(
      'likewise_metrics_stream_poll_duration_seconds',
      'Time to read what is watched.',
      [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    ),
  }
}
