import { type Database, type Queryable, type Sql, type Tx, empty, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { anyBlocked, park, readBlockedKeys, readResolvedOffsets } from './dead-letters.ts'
import { decide, suspectsOf } from './decide.ts'
import { consumedOf } from './consumed.ts'
import { type FreshTold, eachOnce, freshOf, insertHandled, readHandled, tellFresh } from './handle-once.ts'
import {
  type Failed,
  type Horizon,
  type InboxRecord,
  type Judgement,
  type Parked,
  judge,
  parkFailed,
} from './judgement.ts'
import { namesOf } from './log-check.ts'
import { type LeftMark, type Scope, changedSince, lockFreeMarks, lockMark, nowMsOf } from './offsets.ts'

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
  /**
   * The same effect as further parts of the statement that remembers the events, `, name as (…)`, for small batches: there
   * the round trips are most of what a transaction costs. Of the events (each id once) those may have an effect that stand
   * in `fresh(event_id)`.
   */
  readonly workWithin?: (events: readonly LikeEvent[]) => Sql
  /** The mark as this process left it, where it does know. */
  readonly left?: LeftMark
  /** Set where the one record there is could not be handled: it is parked as `failed`. */
  readonly failed?: Failed
}

const nothing: BatchOutcome = { handled: 0, duplicates: 0, skipped: 0, parked: [], foreign: 0 }

/**
 * Handles a batch, or a piece of one, in one transaction: lock the mark → skip what lies before it → park what cannot
 * be handled, and what waits behind it → insert the ids, move the mark → do the work.
 *
 * Where nothing is parked that is three statements (the lock, `take`, the work). The lock is one of its own, since a
 * statement sees only what was committed when it began: one that waits for the lock would not see what the holder did.
 */
export async function handlePiece(db: Database, options: PieceOptions): Promise<BatchOutcome> {
  const { scope, work } = options
  return db.tx(async (tx) => {
    const { nextOffset, nowMs } = await lockMark(tx, scope)
    const seen = see(options, nextOffset, nowMs)
    if (seen.goal === null) return { ...nothing, skipped: seen.skipped }
    const { events, parked, fresh } = await takeOrPark(tx, scope, { ...seen, goal: seen.goal })
    if (fresh.length > 0) await work(tx, fresh)
    return outcomeOf(seen, { events, parked, handled: fresh.length })
  })
}

/** What became of a batch that was handled together with others; 'apart': nothing, it has to go its own way. */
export type Together = { readonly outcome: BatchOutcome; readonly left: LeftMark | undefined } | 'apart'

/**
 * Handles batches of several partitions of one topic in one transaction. Where it is not that simple, since something has to
 * be parked, it does nothing. A batch whose mark somebody holds goes its own way: a redrive may hold one for minutes, and
 * the others would wait with it.
 *
 * @returns what became of each, in the order given.
 */
export async function handleTogether(
  db: Database,
  pieces: readonly [PieceOptions, ...PieceOptions[]],
): Promise<Together[]> {
  const marks = pieces.map(({ left }) => left)
  const { workWithin } = pieces[0]
  if (workWithin !== undefined && marks.every((left) => left !== undefined)) {
    const done = await handleAtOnce(db, pieces, { marks, workWithin })
    if (done !== 'apart') return done
  }
  return handleInTransaction(db, pieces)
}

/** With the three statements of `handlePiece`. */
async function handleInTransaction(
  db: Database,
  pieces: readonly [PieceOptions, ...PieceOptions[]],
): Promise<Together[]> {
  const { scope, work } = pieces[0]
  const partitions = pieces.map((piece) => piece.scope.partition)
  return db.tx(async (tx) => {
    const marks = await lockFreeMarks(tx, scope, partitions)
    const seen = pieces.map((piece) => {
      const mark = marks.get(piece.scope.partition)
      return mark ? see(piece, mark.nextOffset, mark.nowMs) : 'apart'
    })
    const held = seen.filter((one) => one !== 'apart')
    const wanted = wantedOf(held)
    if (wanted === 'apart') return seen.map(() => 'apart')
    const taken = wanted.goals.length === 0 ? nothingTaken : await take(tx, scope, wanted)
    if (taken === 'blocked') return seen.map(() => 'apart')
    if (taken.fresh.length > 0) await work(tx, taken.fresh)
    return seen.map((one) => (one === 'apart' ? one : ownOutcome(one, taken)))
  })
}

/**
 * With one statement, on the marks as this process left them: where somebody has one, or has moved one since, or has parked
 * something before it, nothing happens. So the statement needs not see what was committed since it began: see `touchMark`.
 */
async function handleAtOnce(
  db: Queryable,
  pieces: readonly [PieceOptions, ...PieceOptions[]],
  { marks, workWithin }: { marks: readonly LeftMark[]; workWithin: (events: readonly LikeEvent[]) => Sql },
): Promise<Together[] | 'apart'> {
  const nowMs = Math.max(...marks.map(nowMsOf))
  const seen = pieces.map((piece, i) => see(piece, marks[i]?.nextOffset ?? 0n, nowMs))
  const wanted = wantedOf(seen)
  if (wanted === 'apart') return 'apart'
  const taken = await take(db, pieces[0].scope, { ...wanted, on: { marks, nowMs }, workWithin })
  return taken === 'blocked' ? 'apart' : seen.map((one) => ownOutcome(one, taken))
}

type Wanted = Pick<Taking, 'events' | 'keys' | 'goals'>

function wantedOf(seen: readonly Seen[]): Wanted | 'apart' {
  const judged = seen.flatMap((one) => one.judged)
  if (judged.some(({ kind }) => kind === 'parked')) return 'apart'
  const goals = seen.flatMap(({ goal }) => (goal === null ? [] : [goal]))
  return { events: eventsOf(judged), keys: keysOf(judged), goals }
}

function ownOutcome(one: Seen, { fresh, touched }: Taken): Together {
  const [events, all] = [eventsOf(one.judged), new Set(fresh)]
  const handled = events.filter((event) => all.has(event)).length
  const left = one.goal &&
    touched && { ...touched, partition: one.goal.partition, nextOffset: one.goal.nextOffset }
  return { outcome: outcomeOf(one, { events, parked: [], handled }), left: left ?? undefined }
}

interface Goal {
  partition: number
  nextOffset: bigint
  lastEventId: string | null
  /** Where that record was no event. */
  lastRecord: string | null
}

/** A batch as it looks under the lock of its mark. */
interface Seen {
  wanted: readonly InboxRecord[]
  judged: readonly Judgement[]
  skipped: number
  /** Where the mark is to go; null where nothing lies behind it. */
  goal: Goal | null
}

function see({ scope, records, horizon, failed }: PieceOptions, nextOffset: bigint, nowMs: number): Seen {
  const wanted = records.filter(({ offset }) => offset >= nextOffset)
  const judged = wanted.map((record) => judge(record, nowMs, horizon)).map(failing(failed))
  const [last, lastJudged] = [wanted.at(-1), judged.at(-1)]
  const lastEventId = lastJudged?.kind === 'event' ? lastJudged.event.id : null
  const lastRecord = last && lastEventId === null ? namesOf(last)[0] : null
  const goal = last
    ? { partition: scope.partition, nextOffset: last.offset + 1n, lastEventId, lastRecord }
    : null
  return { wanted, judged, skipped: records.length - wanted.length, goal }
}

function outcomeOf(
  { judged, skipped }: Seen,
  { events, parked, handled }: { events: readonly LikeEvent[]; parked: readonly Parked[]; handled: number },
): BatchOutcome {
  return {
    handled,
    duplicates: events.length - handled,
    skipped,
    parked: parked.map(({ reason, detail, record, eventId }) => ({
      ...{ reason, detail, offset: record.offset, eventId },
    })),
    foreign: judged.filter(({ kind }) => kind === 'foreign').length,
  }
}

/** Takes the events; first parks what has to be, which is the rare case and costs a few statements more. */
async function takeOrPark(
  tx: Tx,
  scope: Scope,
  { judged, wanted, goal }: Seen & { goal: Goal },
): Promise<{ events: LikeEvent[]; parked: Parked[]; fresh: LikeEvent[] }> {
  const keys = keysOf(judged)
  const goals = [goal]
  if (judged.every(({ kind }) => kind !== 'parked')) {
    const events = eventsOf(judged)
    const taken = await take(tx, scope, { events, keys, goals })
    if (taken !== 'blocked') return { events, parked: [], fresh: taken.fresh }
  }
  const offsets = wanted.map(({ offset }) => offset)
  const blocked = await readBlockedKeys(tx, scope, keys)
  const resolved = await readResolvedOffsets(tx, scope, offsets)
  const handled = await readHandled(tx, scope.consumer, suspectsOf(judged, blocked))
  const { events, parked } = decide(judged, { blocked, resolved, handled })
  const taken = await take(tx, scope, { events, keys: [], goals })
  if (taken === 'blocked') throw new Error('Nothing was asked to be blocked.')
  await park(tx, scope, parked)
  return { events, parked, fresh: taken.fresh }
}

interface Taking {
  readonly events: readonly LikeEvent[]
  /** Keys of which none may wait for a redrive. */
  readonly keys: readonly string[]
  readonly goals: readonly Goal[]
  /** The marks that are not locked yet, as they were left, and the database's time by that. */
  readonly on?: { readonly marks: readonly LeftMark[]; readonly nowMs: number }
  readonly workWithin?: (events: readonly LikeEvent[]) => Sql
}

interface Taken {
  /** The events that are new, in the order given. */
  readonly fresh: LikeEvent[]
  readonly touched?: Pick<LeftMark, 'touchedAt' | 'nowMs' | 'readMs'>
}

const nothingTaken: Taken = { fresh: [] }

/**
 * Remembers the events and moves the marks behind the batches, in one statement, unless one of the keys waits for a
 * redrive: then it does nothing. Moving a mark also says that what was begun is done.
 */
async function take(
  tx: Queryable,
  { consumer, topic }: Pick<Scope, 'consumer' | 'topic'>,
  { events, keys, goals, on, workWithin }: Taking,
): Promise<Taken | 'blocked'> {
  const unblocked = sql`not (select found from blocked)`
  const changed = on ? sql`${changedSince({ consumer, topic }, on.marks, on.nowMs)} or` : empty
  const [taken] = await tx.query<FreshTold & { blocked: boolean; touchedAt: string; nowMs: number }>(sql`
    with blocked as materialized (
      select ${changed} ${anyBlocked({ consumer, topic }, keys)} as found
    ), moved as (
      update metrics.consumer_offsets as o
      set next_offset = goal.next_offset, last_event_id = goal.last_event_id, last_record = goal.last_record,
          updated_at = now(), started_offset = null, started_end = null, starts = 0
      from unnest(${goals.map(({ partition }) => partition)}::int[],
                  ${goals.map(({ nextOffset }) => nextOffset)}::bigint[],
                  ${goals.map(({ lastEventId }) => lastEventId)}::uuid[],
                  ${goals.map(({ lastRecord }) => lastRecord)}::text[])
        as goal(partition, next_offset, last_event_id, last_record)
      where o.consumer = ${consumer} and o.topic = ${topic} and o.partition = goal.partition and ${unblocked}
    ), fresh as (${insertHandled(consumer, events.map(consumedOf), unblocked)})${workWithin?.(eachOnce(events)) ?? empty}
    select (select found from blocked) as blocked, ${tellFresh(events)}, now()::text as "touchedAt",
           (extract(epoch from clock_timestamp()) * 1000)::float8 as "nowMs"`)
  if (taken?.blocked !== false) return 'blocked'
  const { touchedAt, nowMs } = taken
  return { fresh: freshOf(events, taken), touched: { touchedAt, nowMs, readMs: performance.now() } }
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

const eventsOf = (judged: readonly Judgement[]): LikeEvent[] =>
  judged.flatMap((one) => (one.kind === 'event' ? [one.event] : []))
