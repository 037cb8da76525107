import { shardCount } from '@likewise/events'
import type { Lease, LeaseTable } from '@likewise/outbox/decisions'
import { type Catalog, type Row, type Snapshot, isVisible } from './catalog.ts'
import type { World } from './world.ts'

/** A shard's newest cursor. */
export interface Cursor {
  readonly n: number
  readonly from: Snapshot
  readonly to: Snapshot
  readonly lastSeq: number
  readonly afterSeq: number
  readonly attempts: number
}

export interface Window extends Cursor {
  readonly shard: number
  readonly epoch: bigint
}

export interface Parked {
  readonly seq: number
  readonly reason: 'refused' | 'behind'
}

/** Faults of the relay's own statements, planted to see that they are found. */
export interface CursorBugs {
  /** What comes next is what has a greater seq, whoever had not committed yet. */
  readonly greaterSeq?: boolean
  /** Who holds the shard is not asked when the cursor moves. */
  readonly noEpoch?: boolean
  /** A step writes over the cursor that is there, whichever it is. */
  readonly inPlace?: boolean
}

const nothing: Snapshot = { xmax: 0, open: new Set() }

export type Cursors = ReturnType<typeof buildCursors>

/** The relay's tables, each function one statement: the windows and steps of libs/outbox (window.ts, step.ts, lease.ts). */
export function buildCursors(world: World, catalog: Catalog, bugs: CursorBugs = {}) {
  const cursors = Array.from({ length: shardCount }, (): Cursor => ({
    n: 0,
    from: nothing,
    to: nothing,
    lastSeq: 0,
    afterSeq: 0,
    attempts: 0,
  }))
  const { holds, ...table } = buildLeaseTable(world)
  const parked = new Map<number, Parked>()

  const rowsOf = ({ shard, from, to, afterSeq }: Pick<Window, 'shard' | 'from' | 'to' | 'afterSeq'>): Row[] =>
    catalog.rows
      .filter((row) => row.shard === shard && row.seq > afterSeq && isVisible(to, row.xid))
      .filter((row) => bugs.greaterSeq || !isVisible(from, row.xid))
      .sort((a, b) => a.seq - b.seq)

  function nextWindows(owner: string, held: readonly { shard: number; epoch: bigint }[]): Window[] {
    return held.flatMap(({ shard, epoch }) => {
      const newest = cursors[shard]
      if (!newest || !holds(owner, shard, epoch)) return []
      if (newest.afterSeq < newest.lastSeq) return [{ ...newest, shard, epoch }]
      const [from, to] = [newest.to, catalog.snapshot()]
      const found = rowsOf({ shard, from, to, afterSeq: bugs.greaterSeq ? newest.lastSeq : 0 })
      const [first, last] = [found[0], found.at(-1)]
      if (!first || !last) return []
      const opened = { n: newest.n + 1, from, to, lastSeq: last.seq, afterSeq: first.seq - 1, attempts: 0 }
      cursors[shard] = opened
      return [{ ...opened, shard, epoch }]
    })
  }

  /** The compare-and-set. @returns the new cursor, or null. */
  function step(
    owner: string,
    window: Window,
    moved: { afterSeq: number; attempts?: number; parkings?: readonly Parked[] },
  ): Window | null {
    const { shard, epoch, n } = window
    if (!bugs.noEpoch && !holds(owner, shard, epoch)) return null
    if (!bugs.inPlace && cursors[shard]?.n !== n) return null
    const { afterSeq, attempts = 0, parkings = [] } = moved
    const at = (bugs.inPlace ? cursors[shard] : undefined) ?? window
    const next = { ...at, shard, epoch, n: at.n + 1, afterSeq, attempts }
    const { shard: _s, epoch: _e, ...cursor } = next
    cursors[shard] = cursor
    for (const parking of parkings) if (!parked.has(parking.seq)) parked.set(parking.seq, parking)
    return next
  }

  return {
    nextWindows,
    readPage: (window: Window, rowsMax: number): Row[] =>
      rowsOf(window)
        .slice(0, rowsMax)
        .filter(({ seq }) => seq <= window.lastSeq),
    settle: (owner: string, window: Window, afterSeq: number, parkings: readonly Parked[]) =>
      step(owner, window, { afterSeq, parkings }),
    recordAttempt: (owner: string, window: Window) =>
      step(owner, window, { afterSeq: window.afterSeq, attempts: window.attempts + 1 }),
    /** Keys of a shard with parked events. */
    heldBack: (shard: number): Set<string> =>
      new Set(
        catalog.rows.flatMap((row) =>
          row.shard === shard && parked.has(row.seq) ? String(row.productId) : [],
        ),
      ),
    ...table,
    /** As the view outbox_status computes it. */
    statusOf: (row: Row): Status => (parked.has(row.seq) ? 'PARKED' : statusBy(cursors[row.shard], row)),
  }
}

type Status = 'PUBLISHED' | 'PARKED' | 'PENDING'

function statusBy(cursor: Cursor | undefined, { xid, seq }: Row): Status {
  if (cursor === undefined || !isVisible(cursor.to, xid)) return 'PENDING'
  return isVisible(cursor.from, xid) || seq <= cursor.afterSeq ? 'PUBLISHED' : 'PENDING'
}

function buildLeaseTable(world: World) {
  const leases = Array.from({ length: shardCount }, (_, shard) => {
    return { shard, owner: null as string | null, epoch: 0n }
  })
  const seenUntilMs = new Map<string, number>()
  const isAlive = (owner: string): boolean => (seenUntilMs.get(owner) ?? -1) > world.now()
  return {
    holds: (owner: string, shard: number, epoch: bigint): boolean =>
      leases[shard]?.owner === owner && leases[shard].epoch === epoch,
    renew(owner: string, leaseMs: number): LeaseTable {
      seenUntilMs.set(owner, world.now() + leaseMs)
      return {
        leases: leases.map((lease) => ({
          ...lease,
          free: lease.owner === null || (lease.owner !== owner && !isAlive(lease.owner)),
        })),
        relays: [...seenUntilMs.keys()].filter(isAlive).sort(),
      }
    },
    take(owner: string, wanted: readonly Lease[]): { shard: number; epoch: bigint }[] {
      return wanted.flatMap(({ shard, epoch }) => {
        const lease = leases[shard]
        if (lease?.epoch !== epoch) return []
        if (lease.owner !== null && lease.owner !== owner && isAlive(lease.owner)) return []
        Object.assign(lease, { owner, epoch: epoch + 1n })
        return [{ shard, epoch: lease.epoch }]
      })
    },
    release(owner: string, shards: readonly number[]): void {
      for (const shard of shards) if (leases[shard]?.owner === owner) leases[shard].owner = null
    },
  }
}
