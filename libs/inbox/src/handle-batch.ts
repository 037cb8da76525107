import type { Database, Tx } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { park, readBlockedKeys, readResolvedOffsets } from './dead-letters.ts'
import { handleOnce } from './handle-once.ts'
import {
  type Horizon,
  type InboxRecord,
  type Judgement,
  type Parked,
  judge,
  parkBehind,
} from './judgement.ts'
import { type Scope, lockMark, moveMark } from './offsets.ts'

export interface BatchOutcome {
  /** Events that had their effect now. */
  handled: number
  /** Events whose id had its effect before. */
  duplicates: number
  /** Records at offsets this consumer had passed. */
  skipped: number
  parked: readonly { reason: string; offset: bigint; eventId: string | null }[]
  /** Events of other families, none of our business. */
  foreign: number
}

export interface BatchOptions {
  readonly scope: Scope
  /** In offset order, as a partition gives them. */
  readonly records: readonly InboxRecord[]
  readonly horizon: Horizon
  /** The effect. Only statements on this transaction: nothing else would be undone with it. */
  readonly work: (tx: Tx, fresh: readonly LikeEvent[]) => Promise<void>
}

/**
 * Handles a batch of one partition in one transaction: lock the mark → skip what lies before it → park what cannot
 * be handled, and what waits behind it → insert the ids → do the work → move the mark.
 *
 * A redelivery of any age is exact by the mark alone; the ids catch what was published twice.
 * The broker is told only after the commit.
 */
export async function handleBatch(
  db: Database,
  { scope, records, horizon, work }: BatchOptions,
): Promise<BatchOutcome> {
  return db.tx(async (tx) => {
    const mark = await lockMark(tx, scope)
    const wanted = records.filter((record) => record.offset >= mark.nextOffset)
    const last = wanted.at(-1)
    const skipped = records.length - wanted.length
    if (!last) return { handled: 0, duplicates: 0, skipped, parked: [], foreign: 0 }

    const judged = wanted.map((record) => judge(record, mark.nowMs, horizon))
    const blocked = await readBlockedKeys(tx, scope, keysOf(judged))
    const troubled = blocked.size > 0 || judged.some(({ kind }) => kind === 'parked')
    const resolved = troubled
      ? await readResolvedOffsets(
          tx,
          scope,
          wanted.map((r) => r.offset),
        )
      : new Set<bigint>()
    const { events, parked } = decide(judged, blocked, resolved)

    const fresh = await handleOnce(tx, scope.consumer, events, work)
    await park(tx, scope, parked)
    await moveMark(tx, scope, last.offset + 1n, lastEventId(judged))
    return {
      handled: fresh.length,
      duplicates: events.length - fresh.length,
      skipped,
      parked: parked.map(({ reason, record, eventId }) => ({ reason, offset: record.offset, eventId })),
      foreign: judged.filter(({ kind }) => kind === 'foreign').length,
    }
  })
}

/**
 * What is handled and what parks, in offset order: a record that blocks its key takes the key's later events with
 * it; other keys flow. Pure, but for `blocked`, which grows.
 */
export function decide(
  judged: readonly Judgement[],
  blocked: Set<string>,
  resolved: ReadonlySet<bigint>,
): { events: LikeEvent[]; parked: Parked[] } {
  const events: LikeEvent[] = []
  const parked: Parked[] = []
  for (const one of judged) {
    if (one.kind === 'foreign') continue
    if (one.kind === 'parked') {
      if (resolved.has(one.record.offset)) continue
      parked.push(one)
      if (one.blocksKey && one.record.key !== null) blocked.add(one.record.key)
    } else if (one.record.key !== null && blocked.has(one.record.key)) {
      if (!resolved.has(one.record.offset)) parked.push(parkBehind(one.record, one.event))
    } else {
      events.push(one.event)
    }
  }
  return { events, parked }
}

const keysOf = (judged: readonly Judgement[]): string[] => [
  ...new Set(
    judged.flatMap((one) => (one.kind === 'event' && one.record.key !== null ? [one.record.key] : [])),
  ),
]

function lastEventId(judged: readonly Judgement[]): string | null {
  const last = judged.at(-1)
  return last?.kind === 'event' ? last.event.id : null
}
