import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { Database } from '@likewise/database'
import { Failure, type Logger, type Telemetry } from '@likewise/service'
import { buildLeases } from './leases.ts'
import { buildLoop, watchMarks } from './loop.ts'
import type { OutboxEvent } from './page.ts'
import type { ShardContext } from './shard.ts'
import { relayTelemetry } from './telemetry.ts'
import { buildTurns } from './turns.ts'
import type { OutboxMode } from './wal/slot.ts'
import { buildWalRelay } from './wal/wal-relay.ts'

export interface RelayLimits {
  /** Rows and bytes of one page, that is of one send to the broker. */
  pageRowsMax: number
  pageBytesMax: number
  /** Idle polling starts at the first and doubles up to the second. */
  pollMinMs: number
  pollMaxMs: number
  /** A relay that is silent for so long loses its shards. Renewed at a third of it. */
  leaseMs: number
  /** Backoff while the broker or the database is away; there is no last attempt. */
  backoffBaseMs: number
  backoffCapMs: number
}

export interface RelayOptions {
  /** Connected with `alwaysByIndex`: all that a relay asks for, it finds by an index. */
  db: Database
  /** How the outbox should be published; whatever it is, the relay follows `outbox_meta`, and says where they differ. */
  source?: OutboxMode
  /** Name of the replication slot, which belongs to the whole server; `likewise_outbox` unless told. */
  slot?: string
  /** Of the same database, for the replication connection where the outbox is read from the WAL. */
  url: string
  /** A pool of its own for the leases, so that a renewal never queues behind pages; `db` where it is left out. */
  leaseDb?: Database
  /** Resolves when the broker has acknowledged all of them, in this order per key; otherwise rejects. */
  publish: (events: readonly OutboxEvent[]) => Promise<void>
  limits: RelayLimits
  log: Logger
  telemetry: Telemetry
  /** Called when the relay cannot go on because of a bug, never for an outage. */
  fail: (error: unknown) => void
}

export interface Relay {
  readonly owner: string
  /** Shards this relay holds now. */
  shards(): number[]
  /** Why it publishes nothing, where the outbox does not belong to this cluster; null otherwise. */
  fault(): Failure | null
  /** Takes no more work, settles what is on its way, gives its shards back. */
  stop(): Promise<void>
}

/** Pages of different shards at a time: enough to keep a broker busy, and each costs memory. */
const pagesMax = 3
const turnMs = 500

/**
 * Publishes the outbox in order, at least once, together with any number of other relays: each holds leases on a
 * share of the shards. Per shard: open a window → read a page → publish it → settle it. Small windows are opened,
 * published and settled together.
 */
export function startRelay(options: RelayOptions): Relay {
  const { db, log } = options
  const owner = randomUUID()
  const telemetry = relayTelemetry(options.telemetry)
  const stopping = new AbortController()
  // Each shard that waits an outage out listens to it.
  setMaxListeners(0, stopping.signal)
  /** A bug: no more work of any kind, or it would be repeated until the service has stopped. */
  function fail(error: unknown): void {
    stopping.abort()
    options.fail(error)
  }
  const leases = buildLeases({
    db: options.leaseDb ?? db,
    owner,
    leaseMs: options.limits.leaseMs,
    log,
    telemetry,
    fail,
  })
  const marks = watchMarks(db, leases)
  const context: ShardContext = {
    ...options,
    owner,
    telemetry,
    leases,
    stopping: stopping.signal,
    turns: buildTurns(pagesMax, turnMs),
    isInterrupted: marks.has,
  }

  /** An outage of the database is waited out; anything else is a bug and ends the service. */
  function waitFor(error: unknown): number {
    if (error instanceof Failure && error.retryable) log.warn({ err: error }, 'relay waits')
    else fail(error)
    return 0
  }
  const wal = buildWalRelay({ ...options, context, marks, fail })
  const loop = buildLoop({ context, wal, marks, waitFor })
  const running = Promise.all([leases.run(stopping.signal), loop.run(), wal.run()])
  log.info({ owner }, 'relay started')

  return {
    owner,
    shards: () => leases.usable().map((lease) => lease.shard),
    fault: () => leases.fault() ?? wal.fault() ?? unexpected(leases.mode(), options.source),
    async stop() {
      stopping.abort()
      await running
      await leases.leave()
      log.info({ owner }, 'relay stopped')
    },
  }
}

function unexpected(mode: OutboxMode, source: OutboxMode | undefined): Failure | null {
  if (source === undefined || source === mode) return null
  const [is, mend] = mode === 'poll' ? ['polled', 'enable'] : ['read from the WAL', 'disable']
  const how = `run \`likewise outbox wal ${mend}\`, or take RELAY_SOURCE away`
  return new Failure(
    'CONFLICT',
    `RELAY_SOURCE is ${source}, but the outbox is ${is}, and so it is published: ${how}.`,
  )
}
