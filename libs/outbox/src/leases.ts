import { performance } from 'node:perf_hooks'
import type { Database } from '@likewise/database'
import { Failure, type Logger, pause } from '@likewise/service'
import { watchIdentity } from './identity.ts'
import { type LeaseTable, leaveRelays, releaseLeases, renewLeases, takeLeases } from './lease.ts'
import { decideShare } from './share.ts'
import type { RelayTelemetry } from './telemetry.ts'
import type { OutboxMode } from './wal/slot.ts'

export interface HeldLease {
  readonly shard: number
  readonly epoch: bigint
  /** Process time (monotonic, ms) until which a page of this shard may be sent. */
  readonly deadlineMs: number
}

export type Leases = ReturnType<typeof buildLeases>

interface LeasesOptions {
  db: Database
  owner: string
  leaseMs: number
  log: Logger
  telemetry: RelayTelemetry
  /** Called when the leases cannot be kept because of a bug, never for an outage. */
  fail: (error: unknown) => void
}

const noLeases: LeaseTable = { leases: [], relays: [] }

/** The leases one relay holds, kept alive by `run`. */
export function buildLeases({ db, owner, leaseMs, log, telemetry, fail }: LeasesOptions) {
  let [held, givingBack] = [new Map<number, HeldLease>(), new Set<number>()]
  /** Given back while a renewal was under way: its answer is older than that. */
  let givenBack = new Set<number>()
  const identity = watchIdentity(db, log)
  let mode: OutboxMode = 'poll'
  let reads = false

  async function renew(): Promise<void> {
    // The clock starts before the statement does: the lease in the database can only end later than ours.
    const deadlineMs = performance.now() + leaseMs
    givenBack = new Set()
    const seen = await identity.look()
    // The cursors of another cluster would pass over rows: no lease then, until somebody has mended it.
    const table = seen === null ? noLeases : await renewLeases(db, owner, leaseMs)
    mode = seen ?? mode
    const { take, giveBack } = decideShare(owner, table, mode === 'poll' ? 'share' : reads ? 'all' : 'none')
    const taken = await takeLeases(db, owner, take)
    const mine = table.leases.filter((l) => l.owner === owner && !l.free && !givenBack.has(l.shard))
    const now = new Map([...mine, ...taken].map(({ shard, epoch }) => [shard, { shard, epoch, deadlineMs }]))
    tellChange(log, { held, now, taken, relays: table.relays.length })
    held = now
    givingBack = new Set(giveBack.filter((shard) => !givenBack.has(shard)))
    telemetry.leasesHeld.set(held.size)
  }

  /** Leases under which new work may begin. */
  const usable = (): HeldLease[] =>
    [...held.values()].filter((l) => !givingBack.has(l.shard) && performance.now() < l.deadlineMs)

  return {
    usable,
    /** The lease a page may be sent under, or undefined when it ran out or changed hands. */
    current: (shard: number, epoch: bigint): HeldLease | undefined => {
      const lease = held.get(shard)
      return lease?.epoch === epoch && performance.now() < lease.deadlineMs ? lease : undefined
    },
    epochOf: (shard: number): bigint | undefined => held.get(shard)?.epoch,
    /** Why no shard may be held, where the database is not the one of the cursors. */
    fault: identity.fault,
    /** How the outbox was published when the leases were renewed last. */
    mode: (): OutboxMode => mode,
    /** Whether this relay is the one that reads the WAL. */
    setReads: (now: boolean): void => void (reads = now),
    wantsBack: (shard: number): boolean => givingBack.has(shard),

    /** Gives back what exceeds the fair share, as soon as nothing of it is on its way. */
    async giveBackIdle(busy: ReadonlyMap<number, unknown>): Promise<void> {
      const shards = [...givingBack].filter((shard) => !busy.has(shard))
      if (shards.length === 0) return
      for (const shard of shards) {
        held.delete(shard)
        givingBack.delete(shard)
        givenBack.add(shard)
      }
      // A failure only means that the others wait for the lease to run out.
      await releaseLeases(db, owner, shards).catch((error: unknown) => {
        log.warn({ err: error, shards }, 'leases not given back')
      })
    },

    async run(stopping: AbortSignal): Promise<void> {
      while (!stopping.aborted) {
        const renewed = await renew().then(
          () => true,
          (error: unknown) => {
            if (error instanceof Failure && error.retryable) log.warn({ err: error }, 'leases not renewed')
            else fail(error)
            return false
          },
        )
        await pause(renewed ? leaseMs / 3 : Math.min(500, leaseMs / 10), stopping)
      }
    },

    async leave(): Promise<void> {
      const shards = [...held.keys()]
      held = new Map()
      await Promise.all([releaseLeases(db, owner, shards), leaveRelays(db, owner)]).catch(
        (error: unknown) => {
          log.warn({ err: error, shards }, 'leases not given back')
        },
      )
    },
  }
}

function tellChange(
  log: Logger,
  {
    held,
    now,
    taken,
    relays,
  }: {
    held: ReadonlyMap<number, HeldLease>
    now: ReadonlyMap<number, HeldLease>
    taken: readonly { shard: number }[]
    relays: number
  },
): void {
  const lost = [...held.keys()].filter((shard) => !now.has(shard))
  if (taken.length + lost.length === 0) return
  log.info({ taken: taken.map((l) => l.shard), lost, held: [...now.keys()], relays }, 'leases changed')
}
