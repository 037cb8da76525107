import { type Queryable, type Sql, sql } from '@likewise/database'
import { Failure } from '@likewise/service'
import type { HeldBack } from './delivery.ts'
import { type OutboxEvent, type PageLimits, cutToBytes, eventColumns, eventOf, firstBytes } from './page.ts'

/**
 * The first event that waits of each key: a walk along the index from key to key, so that a tail of 100,000 events behind
 * one costs no more than that one. `select distinct` would read them all, with every window of the shard.
 */
const headsOf = (shards: readonly number[]): Sql => sql`
  with recursive head as (
    select first.* from unnest(${shards}::smallint[]) as held(shard) cross join lateral (
      select p.shard, p.partition_key, p.reason from catalog.outbox_parked as p
      where p.shard = held.shard and p.resolved_at is null order by p.partition_key, p.seq limit 1
    ) as first
    union all
    select next.* from head cross join lateral (
      select p.shard, p.partition_key, p.reason from catalog.outbox_parked as p
      where p.shard = head.shard and p.partition_key > head.partition_key and p.resolved_at is null
      order by p.partition_key, p.seq limit 1
    ) as next
  )`

/**
 * Reads what of the shards may not be sent. Read after the cursor that the page is read by: see `publishWindow`. Of what
 * was discarded, only that of `window` where one is given: it comes by again in a republish only.
 */
export async function readHeldBack(
  db: Queryable,
  shards: readonly number[],
  window?: { afterSeq: bigint; lastSeq: bigint },
): Promise<HeldBack> {
  const within = window ? sql`seq > ${window.afterSeq} and seq <= ${window.lastSeq}` : sql`true`
  const rows = await db.query<{ key: string | null; seq: bigint | null }>(sql`
    ${headsOf(shards)}
    select partition_key as key, null::bigint as seq from head
    union all
    select null, seq from catalog.outbox_parked
    where shard = any (${shards}::smallint[]) and resolution = 'discarded' and ${within}`)
  return {
    keys: new Set(rows.flatMap(({ key }) => key ?? [])),
    discarded: new Set(rows.flatMap(({ seq }) => (seq === null ? [] : String(seq)))),
  }
}

/**
 * Those of the shards in which somebody marked something that can move now: what is given up goes from anywhere, what is
 * redriven only from the head of its key. A mark further back waits, and must not interrupt its shard every second.
 */
export async function readMarkedShards(db: Queryable, shards: readonly number[]): Promise<number[]> {
  const rows = await db.query<{ shard: number }>(sql`
    select shard::int as shard from catalog.outbox_parked as p
    where shard = any (${shards}::smallint[]) and resolved_at is null and mark is not null
      and (mark = 'discard' or exists (
        select from (
          select reason, mark from catalog.outbox_parked as h
          where h.shard = p.shard and h.partition_key = p.partition_key and h.resolved_at is null order by h.seq limit 1
        ) as head where head.reason = 'behind' or head.mark is not null
      ))
    group by shard`)
  return rows.map(({ shard }) => shard)
}

/**
 * The keys of a shard that should move: somebody marked one of their events, or they wait behind nothing, since
 * whoever moved them was killed in the middle.
 */
export async function readKeysToMove(db: Queryable, shard: number): Promise<string[]> {
  const rows = await db.query<{ key: string }>(sql`
    ${headsOf([shard])}
    select partition_key as key from catalog.outbox_parked
    where shard = ${shard}::smallint and resolved_at is null and mark is not null
    union
    select partition_key from head where reason = 'behind'
    order by key`)
  return rows.map(({ key }) => key)
}

export interface WaitingEvent {
  readonly event: OutboxEvent
  readonly reason: 'refused' | 'behind'
  readonly mark: 'redrive' | 'discard' | null
}

/** The first events of a key that are parked, in order; a page of them. */
export async function readWaiting(
  db: Queryable,
  shard: number,
  key: string,
  limits: PageLimits,
): Promise<WaitingEvent[]> {
  const rows = await db.query<Parameters<typeof eventOf>[0] & Omit<WaitingEvent, 'event'>>(sql`
    select ${eventColumns}, reason, mark from ${firstBytes(
      sql`select * from catalog.outbox_parked
          where shard = ${shard}::smallint and partition_key = ${key} and resolved_at is null
          order by seq limit ${limits.pageRowsMax}`,
      limits.pageBytesMax,
    )} order by seq`)
  return cutToBytes(rows, limits.pageBytesMax).map(({ reason, mark, ...row }) => {
    return { event: eventOf(row), reason, mark }
  })
}

/** Which events somebody means: one, or all of a key. */
export type ParkedSelection = { readonly eventId: string } | { readonly partitionKey: string }

export interface ParkedEvent {
  seq: bigint
  id: string
  shard: number
  eventType: string
  topic: string
  partitionKey: string
  reason: 'refused' | 'behind'
  detail: string
  attempts: number
  createdAt: Date
  parkedAt: Date
  mark: 'redrive' | 'discard' | null
}

const parkedColumns = sql`seq, id::text as id, shard::int as shard, event_type as "eventType", topic,
  partition_key as "partitionKey", reason, detail, attempts, created_at as "createdAt", parked_at as "parkedAt", mark`

/** What is parked, oldest first, at most `limit` of it. */
export async function listParked(
  db: Queryable,
  { selection, limit }: { selection?: ParkedSelection; limit: number },
): Promise<ParkedEvent[]> {
  return db.query<ParkedEvent>(sql`
    select ${parkedColumns} from catalog.outbox_parked
    where resolved_at is null and ${selection === undefined ? sql`true` : matches(selection)}
    order by seq limit ${limit}`)
}

export async function countParked(db: Queryable): Promise<{ events: bigint; keys: bigint }> {
  const [row] = await db.query<{ events: bigint; keys: bigint }>(sql`
    select count(*) as events, count(distinct partition_key) as keys from catalog.outbox_parked
    where resolved_at is null`)
  return row ?? { events: 0n, keys: 0n }
}

export interface ParkedAction {
  selection: ParkedSelection
  /** Who asks; written to catalog.outbox_audit with the time. */
  actor: string
  /** Only tells what would be marked. */
  dryRun?: boolean
}

/**
 * Asks for refused events to be sent once more. Marks them only: the relay that holds their shard sends them, in order,
 * and then the events that wait behind them; one that is refused again stays parked with its new reason.
 *
 * @returns the refused events that are marked. Rejects with NOT_FOUND where there is none, and with CONFLICT where
 *   the event asked for waits behind another one.
 */
export async function redrive(
  db: Queryable,
  { selection, actor, dryRun }: ParkedAction,
): Promise<ParkedEvent[]> {
  const refused = sql`${matches(selection)} and reason = 'refused'`
  const marked = dryRun ? await select(db, refused) : await mark(db, 'redrive', refused, actor)
  if (marked.length > 0) return marked
  const [first] = await listParked(db, { selection, limit: 1 })
  if (first === undefined) throw nothingParked(selection)
  const [head] = await listParked(db, { selection: { partitionKey: first.partitionKey }, limit: 1 })
  throw new Failure(
    'CONFLICT',
    `Event ${first.id} only waits behind event ${head?.id ?? 'of its key'} (key ${first.partitionKey}). ` +
      'Redrive or discard that one; what waits behind it follows by itself, in order.',
  )
}

/**
 * Asks for events to be given up. Marks them only: the relay that holds their shard drops them, and sends what waited
 * behind nothing else. They keep their rows, as DISCARDED.
 *
 * @returns the events that are marked. Rejects with NOT_FOUND where there is none.
 */
export async function discard(
  db: Queryable,
  { selection, actor, dryRun }: ParkedAction,
): Promise<ParkedEvent[]> {
  const meant = matches(selection)
  const marked = dryRun ? await select(db, meant) : await mark(db, 'discard', meant, actor)
  if (marked.length === 0) throw nothingParked(selection)
  return marked
}

const select = (db: Queryable, condition: Sql): Promise<ParkedEvent[]> =>
  db.query<ParkedEvent>(sql`
    select ${parkedColumns} from catalog.outbox_parked where resolved_at is null and ${condition} order by seq`)

function mark(
  db: Queryable,
  as: 'redrive' | 'discard',
  condition: Sql,
  actor: string,
): Promise<ParkedEvent[]> {
  return db.query<ParkedEvent>(sql`
    with meant as (
      select seq from catalog.outbox_parked where resolved_at is null and ${condition} order by seq for update
    ), marked as (
      update catalog.outbox_parked as p set mark = ${as}, marked_at = now()
      from meant where p.seq = meant.seq and p.resolved_at is null
      returning p.*
    ), audited as (
      insert into catalog.outbox_audit (actor, action, seq, event_id, partition_key, detail)
      select ${actor}, ${as}, seq, id, partition_key, detail from marked
    )
    select ${parkedColumns} from marked order by seq`)
}

const matches = (selection: ParkedSelection): Sql =>
  'eventId' in selection
    ? sql`id = ${selection.eventId}::uuid`
    : sql`partition_key = ${selection.partitionKey}`

function nothingParked(selection: ParkedSelection): Failure {
  const what =
    'eventId' in selection ? `event ${selection.eventId}` : `event of key ${selection.partitionKey}`
  return new Failure('NOT_FOUND', `No ${what} is parked in the outbox.`)
}
