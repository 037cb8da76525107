import { type Database, type Tx, sql } from '@likewise/database'
import { type LikeEvent, aggregateType, partitionKeyOf } from '@likewise/events'
import { blockedKeys, park, readTroubles } from './dead-letters.ts'
import { decide } from './decide.ts'
import { firstOfEach, insertHandled } from './handle-once.ts'
import {
  type Failed,
  type Horizon,
  type InboxRecord,
  type Judgement,
  judge,
  parkFailed,
} from './judgement.ts'
import { type Scope, lockMark } from './offsets.ts'

export interface BatchOutcome {
  /** Events that had their effect now. */
  handled: number
  /** Events whose id had its effect before. */
  duplicates: number
  /** Records at offsets this consumer had passed. */
  skipped: number
  parked: readonly { reason: string; detail: string; offset: bigint; eventId: string | null }[]
  /** Events of other families, none of our business. */
  foreign: number
}

export interface PieceOptions {
  readonly scope: Scope
  /** In offset order, as a partition gives them. */
  readonly records: readonly InboxRecord[]
  readonly horizon: Horizon
  /** The effect. Only statements on this transaction: nothing else would be undone with it. */
  readonly work: (tx: Tx, fresh: readonly LikeEvent[]) => Promise<void>
  /** Set where the one record there is could not be handled: it is parked as `failed`. */
  readonly failed?: Failed
}

export const nothing: BatchOutcome = { handled: 0, duplicates: 0, skipped: 0, parked: [], foreign: 0 }

/**
 * Handles a batch, or a piece of one, in one transaction: lock the mark → skip what lies before it → park what cannot
 * be handled, and what waits behind it → insert the ids, move the mark → do the work.
 *
 * Where nothing is parked that is three statements (the lock, `take`, the work). The lock is one of its own, since a
 * statement sees only what was committed when it began: one that waits for the lock would not see what the holder did.
 */
export async function handlePiece(db: Database, options: PieceOptions): Promise<BatchOutcome> {
  const { scope, records, horizon, work, failed } = options
  return db.tx(async (tx) => {
    const mark = await lockMark(tx, scope)
    const wanted = records.filter((record) => record.offset >= mark.nextOffset)
    const last = wanted.at(-1)
    const skipped = records.length - wanted.length
    if (!last) return { ...nothing, skipped }

    const judged = wanted.map((record) => judge(record, mark.nowMs, horizon)).map(failing(failed))
    const goal = { nextOffset: last.offset + 1n, lastEventId: lastEventId(judged) }
    const { events, parked, fresh } = await takeOrPark(tx, scope, { judged, wanted, goal })
    if (fresh.length > 0) await work(tx, fresh)
    return {
      handled: fresh.length,
      duplicates: events.length - fresh.length,
      skipped,
      parked: parked.map(({ reason, detail, record, eventId }) => ({
        reason,
        detail,
        offset: record.offset,
        eventId,
      })),
      foreign: judged.filter(({ kind }) => kind === 'foreign').length,
    }
  })
}

interface Goal {
  nextOffset: bigint
  lastEventId: string | null
}

/** Takes the events; first parks what has to be, which is the rare case and costs two statements more. */
async function takeOrPark(
  tx: Tx,
  scope: Scope,
  { judged, wanted, goal }: { judged: readonly Judgement[]; wanted: readonly InboxRecord[]; goal: Goal },
) {
  const keys = keysOf(judged)
  if (judged.every(({ kind }) => kind !== 'parked')) {
    const events = judged.flatMap((one) => (one.kind === 'event' ? [one.event] : []))
    const fresh = await take(tx, scope, { events, keys, goal })
    if (fresh !== 'blocked') return { events, parked: [], fresh }
  }
  const offsets = wanted.map(({ offset }) => offset)
  const { blocked, resolved } = await readTroubles(tx, scope, { keys, offsets })
  const { events, parked } = decide(judged, blocked, resolved)
  const fresh = await take(tx, scope, { events, keys: [], goal })
  if (fresh === 'blocked') throw new Error('Nothing was asked to be blocked.')
  await park(tx, scope, parked)
  return { events, parked, fresh }
}

/**
 * Remembers the events and moves the mark behind the batch, in one statement, unless one of the keys waits for a
 * redrive: then it does nothing. Moving the mark also says that what was begun is done.
 *
 * @returns the events that are fresh, in the order given.
 */
async function take(
  tx: Tx,
  scope: Scope,
  { events, keys, goal }: { events: readonly LikeEvent[]; keys: readonly string[]; goal: Goal },
): Promise<LikeEvent[] | 'blocked'> {
  const { consumer, topic, partition } = scope
  const consumed = events.map((event) => ({
    id: event.id,
    type: event.type,
    aggregateType,
    aggregateId: partitionKeyOf(event),
  }))
  const unblocked = sql`not (select found from blocked)`
  const [taken] = await tx.query<{ blocked: boolean; ids: string[] | null }>(sql`
    with blocked as materialized (
      select exists (${blockedKeys(scope, keys)}) as found
    ), moved as (
      update metrics.consumer_offsets
      set next_offset = ${goal.nextOffset}::bigint, last_event_id = ${goal.lastEventId}::uuid, updated_at = now(),
          started_offset = null, started_end = null, starts = 0
      where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int and ${unblocked}
    ), fresh as (${insertHandled(consumer, consumed, unblocked)})
    select (select found from blocked) as blocked, (select array_agg(event_id::text) from fresh) as ids`)
  return taken?.blocked === false ? firstOfEach(events, taken.ids) : 'blocked'
}

const failing =
  (failed: Failed | undefined) =>
  (one: Judgement): Judgement =>
    failed !== undefined && one.kind === 'event' ? parkFailed(one.record, one.event, failed) : one

const keysOf = (judged: readonly Judgement[]): string[] => [
  ...new Set(
    judged.flatMap((one) => (one.kind === 'event' && one.record.key !== null ? [one.record.key] : [])),
  ),
]

function lastEventId(judged: readonly Judgement[]): string | null {
  const last = judged.at(-1)
  return last?.kind === 'event' ? last.event.id : null
}
