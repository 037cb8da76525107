import { shardOf } from '@likewise/events'
import type { Change } from '../checker/history.ts'
import { nameOf } from '../checker/history.ts'
import { type Server, type World, unavailable } from './world.ts'

/** As pg_current_snapshot() gives it. */
export interface Snapshot {
  readonly xmax: number
  readonly open: ReadonlySet<number>
}

export const isVisible = ({ xmax, open }: Snapshot, xid: number): boolean => xid < xmax && !open.has(xid)

export interface Row extends Change {
  readonly seq: number
  readonly xid: number
  readonly shard: number
  readonly id: string
  readonly atMs: number
}

/** A write as a client asks for it. */
export interface Write {
  readonly userId: number
  readonly productId: number
  readonly liked: boolean
}

export type Catalog = ReturnType<typeof buildCatalog>

export interface CatalogBugs {
  /** The outbox row is written before the like's lock is taken. */
  readonly eventFirst?: boolean
  /** The event is committed by itself, before the like. */
  readonly twoTransactions?: boolean
}

/**
 * The tables of the producer side, as PostgreSQL keeps them in READ COMMITTED: transactions draw an xid and take row locks,
 * commit in any order, and snapshots tell which of them had ended.
 */
export function buildCatalog(world: World, bugs: CatalogBugs = {}) {
  const likes = new Map<string, { userId: number; productId: number }>()
  const rows: Row[] = []
  const open = new Set<number>()
  const locks = new Map<string, (() => void)[]>()
  let [xids, seqs] = [1, 0]
  const server: Server = { downUntilMs: 0 }

  async function lock(name: string): Promise<void> {
    const waiting = locks.get(name)
    if (waiting === undefined) locks.set(name, [])
    else await new Promise<void>((resolve) => waiting.push(resolve))
  }
  function unlock(name: string): void {
    const next = locks.get(name)?.shift()
    if (next) next()
    else locks.delete(name)
  }
  function begin(): number {
    open.add(xids)
    return xids++
  }
  function insert(xid: number, { userId, productId, liked }: Write): Row {
    const seq = (seqs += 1)
    const atMs = epochMs + world.now()
    const shard = shardOf(String(productId))
    return { seq, xid, shard, id: uuidV7(atMs, seq), userId, productId, added: liked, atMs }
  }

  /** One statement, as like-api writes: the likes in the order of their keys, then the events, then the commit. */
  async function write(writes: readonly Write[]): Promise<boolean[]> {
    const sorted = [...writes].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
    const early = world.choice() % 2 === 1 || bugs.eventFirst === true ? begin() : undefined
    const before = bugs.eventFirst ? sorted.map((one) => insert(early ?? 0, one)) : []
    if (bugs.eventFirst) await world.sleep(stepMs(world.choice()))
    for (const one of sorted) await lock(nameOf(one))
    const changed = sorted.filter((one) => likes.has(nameOf(one)) !== one.liked)
    const xid = early ?? (changed.length > 0 ? begin() : undefined)
    await world.sleep(stepMs(world.choice()))
    const isChanged = (row: Row): boolean => changed.some((one) => nameOf(one) === nameOf(row))
    const inserted = bugs.eventFirst ? before.filter(isChanged) : changed.map((one) => insert(xid ?? 0, one))
    if (bugs.twoTransactions && xid !== undefined) {
      rows.push(...inserted)
      open.delete(xid)
    }
    await world.sleep(stepMs(world.choice()))
    const isRolledBack = world.choice() > 240 || server.downUntilMs > world.now()
    if (!isRolledBack) {
      for (const one of changed) {
        if (one.liked) likes.set(nameOf(one), { userId: one.userId, productId: one.productId })
        else likes.delete(nameOf(one))
      }
      if (!bugs.twoTransactions) rows.push(...inserted)
    }
    if (xid !== undefined) open.delete(xid)
    for (const one of sorted) unlock(nameOf(one))
    if (isRolledBack) throw unavailable()
    return writes.map((one) => changed.includes(one))
  }

  return {
    server,
    likes,
    rows,
    write,
    snapshot: (): Snapshot => ({ xmax: xids, open: new Set(open) }),
  }
}

/** Mostly at once; a few transactions stay open for long. */
const stepMs = (choice: number): number => (choice < 160 ? choice % 4 : 10 * (choice % 32))

/** When the simulation begins, for what is told as a date. */
export const epochMs = Date.UTC(2026, 0, 1)

export function uuidV7(ms: number, n: number): string {
  const time = ms.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-${n.toString(16).padStart(12, '0')}`
}
