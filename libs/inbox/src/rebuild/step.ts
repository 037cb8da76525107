import { type Database, type Tx, arrayOf, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { Failure } from '@likewise/service'
import { consumedOf } from '../consumed.ts'
import { type LogPiece, type Verdict, countable } from './entry.ts'
import { type Rebuild, type ShadowModel, readRebuildOffsets, renewRebuild } from './rebuild.ts'
import { readDiscarded, readVerdictsOf } from './verdicts.ts'

export interface Step {
  readonly pieces: readonly LogPiece[]
  readonly model: Pick<ShadowModel, 'apply'>
  /** Set from when it was looked up which ids event_handled has (see handed-over.ts). */
  readonly unsure?: boolean
  /** So long all of it may take, waiting for others included; unset: as long as a statement may. */
  readonly limitMs?: number
}

export interface Stepped {
  readonly counted: number
  readonly duplicates: number
  readonly unreadable: number
}

/**
 * Counts pieces of the log into the rebuilt model and moves its offsets, in one transaction: after any interruption it
 * goes on exactly there. All of them must lie before the marks of the live model, read before this is called: then what
 * became of each record is committed, and its letter, if it has one, is seen here.
 *
 * Each piece says from where it goes on. One that has been counted, since its commit came through although its answer did
 * not, is passed over.
 * @throws {Failure} CONFLICT where the database has lost steps (a failover, a restore): what is on hand does not fit them.
 */
export async function stepRebuild(
  db: Database,
  rebuild: Rebuild,
  { pieces, model, unsure = false, limitMs }: Step,
): Promise<Stepped> {
  const work = async (tx: Tx): Promise<Stepped> => {
    if (limitMs !== undefined) {
      const limit = String(Math.max(1, Math.ceil(limitMs)))
      await tx.query(sql`select set_config('statement_timeout', ${limit}, true) as set`)
    }
    await renewRebuild(tx, rebuild)
    const next = await uncountedOf(tx, pieces)
    if (next.length === 0) return { counted: 0, duplicates: 0, unreadable: 0 }
    const letters = await readLettersOf(tx, rebuild, next)
    const { events, unreadable } = countable(next, letters)
    const fresh = await countEvents(tx, events, { pieces: next, unreadable, unsure })
    if (fresh.length > 0) await model.apply(tx, fresh)
    return { counted: fresh.length, duplicates: events.length - fresh.length, unreadable }
  }
  return db.tx(work, { ...(limitMs !== undefined && { timeoutMs: limitMs }) })
}

async function uncountedOf(tx: Tx, pieces: readonly LogPiece[]): Promise<LogPiece[]> {
  const stands = new Map(
    (await readRebuildOffsets(tx)).map(({ partition, nextOffset }) => [partition, nextOffset]),
  )
  return pieces.filter(({ partition, from, entries }) => {
    const [stand, last] = [stands.get(partition) ?? 0n, entries.at(-1)]
    if (stand === from) return true
    if (last && stand === last.offset + 1n) return false
    throw new Failure(
      'CONFLICT',
      `The rebuild stands at offset ${String(stand)} of partition ${String(partition)} instead of ${String(from)}: ` +
        'the database has lost its last steps. Run it again: it goes on from there.',
    )
  })
}

/**
 * Remembers the events as counted, moves the offsets behind the pieces. @returns those that are fresh, in the order given.
 *
 * What comes back is the ids that are not fresh: mostly none.
 */
export async function countEvents(
  tx: Tx,
  events: readonly LikeEvent[],
  { pieces = [], unreadable = 0, unsure }: Pick<Partial<Step>, 'pieces' | 'unsure'> & { unreadable?: number },
): Promise<LikeEvent[]> {
  const distinct = [...new Map([...events].reverse().map((event) => [event.id, event])).values()].reverse()
  const about = distinct.map(consumedOf)
  const goals = pieces.flatMap(({ partition, entries }) => {
    const last = entries.at(-1)
    if (!last) return []
    return [{ partition, next: last.offset + 1n, lastId: last.kind === 'event' ? last.event.id : null }]
  })
  const [counted] = await tx.query<{ known: string[] | null }>(sql`
    with given as materialized (
      select id, type, aggregate_id
      from unnest(${arrayOf(about.map((e) => e.id))}::uuid[], ${arrayOf(about.map((e) => e.type))}::text[],
                  ${arrayOf(about.map((e) => e.aggregateId))}::text[]) as e(id, type, aggregate_id)
    ), moved as (
      insert into metrics.rebuild_offsets as o (partition, base_offset, next_offset, last_event_id)
      select partition, 0, next_offset, last_event_id
      from unnest(${goals.map(({ partition }) => partition)}::int[], ${goals.map(({ next }) => next)}::bigint[],
                  ${goals.map(({ lastId }) => lastId)}::uuid[]) as goal(partition, next_offset, last_event_id)
      on conflict (partition) do update
        set next_offset = excluded.next_offset, last_event_id = excluded.last_event_id
    ), fresh as (
      insert into metrics.rebuild_ids (event_id, event_type, aggregate_id, unsure)
      select id, type, aggregate_id, ${unsure ?? true}::boolean from given
      on conflict do nothing returning event_id
    ), told as (
      update metrics.rebuilds set counted = counted + (select count(*) from fresh),
        duplicates = duplicates + ${events.length}::int - (select count(*) from fresh),
        unreadable = unreadable + ${unreadable}::int
    )
    select array_agg(given.id::text) as known from given left join fresh on fresh.event_id = given.id
    where fresh.event_id is null`)
  const known = new Set(counted?.known ?? [])
  return distinct.filter(({ id }) => !known.has(id))
}

/** Letters at the places of the pieces, and those of the same events that were discarded, wherever they lie. */
async function readLettersOf(
  tx: Tx,
  { consumer, topic }: Rebuild,
  pieces: readonly LogPiece[],
): Promise<Verdict[]> {
  const ranges = pieces.flatMap(({ partition, entries }) => {
    const [first, last] = [entries[0], entries.at(-1)]
    return first && last ? [{ partition, first: first.offset, last: last.offset }] : []
  })
  const letters = await readVerdictsOf(
    tx,
    sql`
      select d.id from metrics.dead_letters as d
      join unnest(${ranges.map(({ partition }) => partition)}::int[], ${ranges.map(({ first }) => first)}::bigint[],
                  ${ranges.map(({ last }) => last)}::bigint[]) as piece(place, first_offset, last_offset)
        on d.partition = piece.place and d.record_offset between piece.first_offset and piece.last_offset
      where d.consumer = ${consumer} and d.topic = ${topic}`,
  )
  const ids = pieces.flatMap(({ entries }) =>
    entries.flatMap((entry) => (entry.kind === 'event' ? [entry.event.id] : [])),
  )
  const discarded = await readDiscarded(tx, { consumer, topic }, [...ids, ...letters.flatMap(({ eventId }) => eventId ?? [])]) // prettier-ignore
  const there = new Set(letters.map(({ id }) => id))
  return [...letters, ...discarded.filter(({ id }) => !there.has(id))]
}
