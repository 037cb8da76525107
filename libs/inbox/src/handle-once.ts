import { type Queryable, type Sql, arrayOf, sql } from '@likewise/database'
import { Failure } from '@likewise/service'

/** What of a consumed event is remembered. */
export interface ConsumedEvent {
  /** UUID v7: its own time decides where it is looked for, and for how long. */
  readonly id: string
  /** CloudEvents type, for example `shop.order.placed.v1`. */
  readonly type: string
  readonly aggregateType: string
  readonly aggregateId: string
}

/** Events older than this cannot be told from their duplicates: their ids may have left the ring. */
export const horizonDaysMax = 30
/** Ids from further ahead would meet, in the ring, those that are just leaving it. */
const futureDaysMax = 1

export type Handled = 'handled' | 'duplicate'

/**
 * Runs `work` for the events that have not had their effect yet, inside the caller's transaction: the memory of an
 * event and its effect commit together or not at all. Hand it the transaction of the effect, and do in `work` only
 * what that transaction undoes.
 *
 * Idempotence is an insert, not a question: asking first races with another member that asks at the same moment.
 * Consumers with different names know nothing of each other. `work` gets the fresh events once each, in the order
 * given, and is not called where there are none. To be taken in READ COMMITTED, PostgreSQL's default: at stricter levels
 * a member that meets the same event at the same moment fails with 40001, and must begin its transaction again.
 *
 * @returns 'handled' or 'duplicate'; for a list, that of each event. Within a list the first of an id is the one.
 * @throws {Failure} EVENT_UNJUDGED, with nothing done, for an id of which no duplicate could be told by the database's
 * clock: no UUID v7, older than 30 days, or more than a day ahead. Park such an event, or apply it by hand.
 */
export async function handleOnce<E extends ConsumedEvent>(
  tx: Queryable,
  consumer: string,
  event: E,
  work: (fresh: readonly E[]) => Promise<void>,
): Promise<Handled>
export async function handleOnce<E extends ConsumedEvent>(
  tx: Queryable,
  consumer: string,
  events: readonly E[],
  work: (fresh: readonly E[]) => Promise<void>,
): Promise<Handled[]>
export async function handleOnce<E extends ConsumedEvent>(
  tx: Queryable,
  consumer: string,
  given: E | readonly E[],
  work: (fresh: readonly E[]) => Promise<void>,
): Promise<Handled | Handled[]> {
  if (!Array.isArray(given)) {
    const [outcome] = await handleList(tx, consumer, [given as E], work)
    return outcome ?? 'duplicate'
  }
  return handleList(tx, consumer, given as readonly E[], work)
}

async function handleList<E extends ConsumedEvent>(
  tx: Queryable,
  consumer: string,
  events: readonly E[],
  work: (fresh: readonly E[]) => Promise<void>,
): Promise<Handled[]> {
  if (events.length === 0) return []
  await requireJudged(tx, events)
  const fresh = freshOf(events, await remember(tx, consumer, events))
  if (fresh.length > 0) await work(fresh)
  const left = new Set(fresh)
  return events.map((event) => (left.delete(event) ? 'handled' : 'duplicate'))
}

/** Remembers events whose ids somebody has judged. @returns what freshOf reads. */
export async function remember(
  tx: Queryable,
  consumer: string,
  events: readonly ConsumedEvent[],
): Promise<FreshTold | undefined> {
  if (events.length === 0) return undefined
  const [told] = await tx.query<FreshTold>(sql`
    with fresh as (${insertHandled(consumer, events)})
    select ${tellFresh(events)}`)
  return told
}

/** Of these events, the ids of those that had their effect, or were given up: one look into an index for each. */
export async function readHandled(
  tx: Queryable,
  consumer: string,
  events: readonly { readonly id: string }[],
): Promise<Set<string>> {
  if (events.length === 0) return new Set()
  const rows = await tx.query<{ id: string }>(sql`
    select e.id::text as id from unnest(${arrayOf(events.map(({ id }) => id))}::uuid[]) as e(id)
    cross join lateral (
      select from metrics.event_handled as h
      where h.consumer = ${consumer} and h.event_id = e.id and h.slot = metrics.handled_slot(e.id) limit 1
    ) as found`)
  return new Set(rows.map(({ id }) => id))
}

/**
 * The insert that remembers events, as a fragment that yields the `event_id`s which are new. `returning` gives an id
 * once, also where the batch holds it twice. Sorted, so that two members with the same ids wait for each other instead
 * of deadlocking.
 */
export function insertHandled(
  consumer: string,
  events: readonly ConsumedEvent[],
  condition: Sql = sql`true`,
): Sql {
  const sorted = events
    .map((event) => ({ ...event, id: event.id.toLowerCase() }))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
  return sql`
    insert into metrics.event_handled (consumer, event_id, slot, event_type, aggregate_type, aggregate_id)
    select ${consumer}, e.id, metrics.handled_slot(e.id), e.type, e.aggregate_type, e.aggregate_id
    from unnest(${arrayOf(sorted.map((e) => e.id))}::uuid[], ${arrayOf(sorted.map((e) => e.type))}::text[],
                ${arrayOf(sorted.map((e) => e.aggregateType))}::text[],
                ${arrayOf(sorted.map((e) => e.aggregateId))}::text[])
      as e(id, type, aggregate_type, aggregate_id)
    where ${condition}
    on conflict do nothing
    returning event_id`
}

/** What is told of a CTE `fresh` that is such an insert. */
export interface FreshTold {
  readonly freshCount: number
  readonly freshIds: string[] | null
}

/** Columns that tell it: nearly always all are new, and their number says so without a list of ids to write and read. */
export const tellFresh = (events: readonly Identified[]): Sql => sql`
    (select count(*)::int from fresh) as "freshCount",
    (select array_agg(event_id::text) from fresh
     where (select count(*) from fresh) < ${distinctIds(events).size}::int) as "freshIds"`

/** The events whose ids are new, of each id the first, in the order given. */
export function freshOf<E extends Identified>(events: readonly E[], told: FreshTold | undefined): E[] {
  const all = distinctIds(events)
  return eachOnce(events, told?.freshCount === all.size ? all : new Set(told?.freshIds ?? []))
}

/** Of each id the first, in the order given; of `left` only, where told, which is emptied. */
export const eachOnce = <E extends Identified>(events: readonly E[], left = distinctIds(events)): E[] =>
  events.filter(({ id }) => left.delete(id.toLowerCase()))

interface Identified {
  readonly id: string
}

const distinctIds = (events: readonly Identified[]): Set<string> =>
  new Set(events.map(({ id }) => id.toLowerCase()))

const uuid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i

/** Throws for the first event whose duplicates could not be told. */
async function requireJudged(tx: Queryable, events: readonly ConsumedEvent[]): Promise<void> {
  const ids = events.map(({ id }) => id)
  const noUuid = ids.find((id) => !uuid.test(id))
  if (noUuid !== undefined) throw unjudged(noUuid, 'is not a UUID')
  const [found] = await tx.query<{ id: string; version: number | null; days: number | null }>(sql`
    select e.id::text as id, uuid_extract_version(e.id)::int as version,
           round(extract(epoch from clock_timestamp() - uuid_extract_timestamp(e.id)) / 86400, 1)::float8 as days
    from unnest(${arrayOf(ids)}::uuid[]) as e(id)
    where uuid_extract_version(e.id) is distinct from 7
       or uuid_extract_timestamp(e.id) not between clock_timestamp() - ${horizonDaysMax}::float8 * interval '1 day'
                                               and clock_timestamp() + ${futureDaysMax}::float8 * interval '1 day'
    limit 1`)
  if (!found) return
  const { id, version, days } = found
  if (version !== 7) throw unjudged(id, 'is not of version 7')
  throw unjudged(id, days !== null && days > 0 ? `is ${days} days old` : `is ${-(days ?? 0)} days ahead`)
}

const unjudged = (id: string, why: string): Failure =>
  new Failure(
    'EVENT_UNJUDGED',
    `Event ${id} was not handled, since a duplicate of it could not be told: its id ${why}. Ids are UUIDs of version 7, ` +
      `at most ${horizonDaysMax} days old and ${futureDaysMax} day ahead of the database's clock.`,
    { details: { eventId: id } },
  )
