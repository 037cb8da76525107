import { type Queryable, sql } from '@likewise/database'
import { type Remembered, readRemembered, readRememberedOf } from '@likewise/inbox'
import { type Bucket, eventTimeMs, readBuckets } from '@likewise/metrics'
import {
  type HeldEvent,
  type LedgerEvent,
  type LedgerPart,
  readHeldSince,
  readLedgerOf,
} from '@likewise/outbox'
import type { Moment, Sides } from './verify-moment.ts'
import { likeTypes } from './verify-sums.ts'

/** An event that the outbox still has. */
export interface FactEvent {
  readonly id: string
  readonly isLike: boolean
  /** null: its payload tells no user. */
  readonly userId: number | null
  /** When it happened, as the consumer reads it. */
  readonly atMs: number
  readonly committed: boolean
  readonly published: boolean
}

export interface FactLetter {
  readonly id: bigint
  readonly key: string
  readonly eventId: string | null
  readonly eventType: string | null
  readonly reason: string
  readonly resolution: 'redriven' | 'discarded' | null
  /** As `Remembered.handledAt`. */
  readonly resolvedAt: string | null
}

/** All that is known of a product; what is told of the consumer side is as of one moment there. */
export interface Facts {
  readonly productId: number
  readonly coveredFromMs: number
  /** As of the ledger's moment, as are likers. */
  readonly likes: number
  /** When they liked it: those that the outbox should have an event of. */
  readonly likers: ReadonlyMap<number, number>
  /** null: no row. */
  readonly likeCount: number | null
  /** Those of the moment in the order of their commits, for a user. */
  readonly events: readonly FactEvent[]
  /** The snapshot by which they were read. */
  readonly seenBy: string
  readonly remembered: ReadonlyMap<string, Remembered>
  readonly held: readonly HeldEvent[]
  readonly letters: readonly FactLetter[]
  readonly buckets: readonly Bucket[]
}

/** Where facts are read: `handled` before `later`, so that everything which was handled is in the outbox. */
type Lookout = Pick<Moment, 'committed' | 'ledger' | 'handled' | 'later'>

/** What is known of these products. Looks through likes, outbox and handled ids once, however many they are. */
export async function readFacts(
  { committed, ledger, handled, later }: Lookout,
  { consumer, topic }: Sides,
  productIds: readonly number[],
): Promise<Facts[]> {
  const keys = productIds.map(String)
  const ids = productIds.map(BigInt)
  const remembered = await readRememberedOf(handled, consumer, keys)
  const buckets = await readBuckets(handled, ids)
  const letters = await readLettersOf(handled, { consumer, topic }, keys)
  const counts = await handled.query<{ id: bigint; likeCount: number }>(sql`
    select product_id as id, like_count::float8 as "likeCount" from metrics.product_metrics
    where product_id = any (${ids}::bigint[])`)
  const written = await readLedgerOf(later, ledger, { topic, eventTypes: likeTypes, keys })
  const held = await readHeldSince(later, ledger, { topic, keys })
  const events = factsOf(written)
  const users = [...new Set([...events.values()].flatMap((list) => list.flatMap(({ userId }) => userId ?? [])))] // prettier-ignore
  const likes = await committed.query<{ id: bigint; likes: number }>(sql`
    select product_id as id, count(*)::float8 as likes from catalog.likes
    where product_id = any (${ids}::bigint[]) group by 1`)
  const likers = await committed.query<{ id: bigint; userId: number; atMs: number }>(sql`
    select product_id as id, user_id::float8 as "userId", (extract(epoch from created_at) * 1000)::float8 as "atMs"
    from catalog.likes
    where product_id = any (${ids}::bigint[])
      and (created_at >= ${ledger.coveredFrom}::timestamptz or user_id = any (${users}::bigint[]))`)
  const byKey = {
    remembered: groups(remembered, ({ key }) => key),
    buckets: groups(buckets, ({ productId }) => String(productId)),
    letters: groups(letters, ({ key }) => key),
    held: groups(held, ({ partitionKey }) => partitionKey),
    likers: groups(likers, ({ id }) => String(id)),
  }
  const countOf = new Map(counts.map(({ id, likeCount }) => [String(id), likeCount]))
  const likesOf = new Map(likes.map((row) => [String(row.id), row.likes]))
  return keys.map((key) => ({
    productId: Number(key),
    coveredFromMs: ledger.coveredFrom.getTime(),
    likes: likesOf.get(key) ?? 0,
    likeCount: countOf.get(key) ?? null,
    likers: new Map((byKey.likers.get(key) ?? []).map(({ userId, atMs }) => [userId, atMs])),
    events: events.get(key) ?? [],
    seenBy: written.snapshot,
    remembered: new Map((byKey.remembered.get(key) ?? []).map((one) => [one.id, one])),
    held: byKey.held.get(key) ?? [],
    letters: byKey.letters.get(key) ?? [],
    buckets: byKey.buckets.get(key) ?? [],
  }))
}

/**
 * The same products with what was written since, all of which were read by the same snapshot. `later` must be REPEATABLE READ.
 */
export async function readOn(
  { ledger, later }: Pick<Lookout, 'ledger' | 'later'>,
  { topic }: Pick<Sides, 'topic'>,
  all: readonly Facts[],
): Promise<Facts[]> {
  const [since, keys] = [all[0]?.seenBy ?? ledger.snapshot, all.map(({ productId }) => String(productId))]
  const written = await readLedgerOf(later, ledger, { topic, eventTypes: likeTypes, keys, since })
  const fresh = factsOf(written)
  return all.map((facts) => {
    const events = fresh.get(String(facts.productId))
    return { ...facts, seenBy: written.snapshot, ...(events && { events: [...facts.events, ...events] }) }
  })
}

/**
 * The same product as it is now: what has happened since its facts were read. All but that was found before, so this is quick
 * enough to be done while batches wait.
 */
export async function readFactsAgain(
  before: Facts,
  { ledger, handled, later }: Omit<Lookout, 'committed'>,
  sides: Pick<Sides, 'consumer' | 'topic'>,
): Promise<Facts> {
  const { consumer, topic } = sides
  const key = String(before.productId)
  const [facts = before] = await readOn({ ledger, later }, sides, [before])
  // What was held then, and is not told of any more, waits until it is remembered.
  const isNow = await readHeldSince(later, ledger, { topic, keys: [key] })
  const held = [...new Map([...facts.held, ...isNow].map((one) => [one.id, one])).values()]
  const ids = [...facts.events, ...held].map(({ id }) => id).concat(...facts.remembered.keys())
  const [metric] = await handled.query<{ likeCount: number }>(sql`
    select like_count::float8 as "likeCount" from metrics.product_metrics
    where product_id = ${BigInt(facts.productId)}`)
  return {
    ...facts,
    held,
    likeCount: metric?.likeCount ?? null,
    remembered: await readRemembered(handled, consumer, ids),
    letters: await readLettersOf(handled, { consumer, topic }, [key]),
    buckets: await readBuckets(handled, [BigInt(facts.productId)]),
  }
}

async function readLettersOf(
  db: Queryable,
  { consumer, topic }: Pick<Sides, 'consumer' | 'topic'>,
  keys: readonly string[],
): Promise<FactLetter[]> {
  return db.query<FactLetter>(sql`
    select id, record_key as key, event_id::text as "eventId", event_type as "eventType", reason, resolution,
           resolved_at::text as "resolvedAt"
    from metrics.dead_letters
    where consumer = ${consumer} and topic = ${topic} and record_key = any (${keys}::text[]) order by id`)
}

const factsOf = ({ events }: LedgerPart): Map<string, FactEvent[]> =>
  new Map(
    [...groups(events, ({ partitionKey }) => partitionKey)].map(([key, rows]) => [key, rows.map(factOf)]),
  )

function factOf(row: LedgerEvent): FactEvent {
  const { id, committed, published } = row
  const data = readPayload(row.payload)
  const createdAt = typeof data.createdAt === 'string' ? data.createdAt : ''
  return {
    ...{ id, committed, published, isLike: row.eventType === likeTypes[0] },
    userId: typeof data.userId === 'number' ? data.userId : null,
    atMs: eventTimeMs({ id, data: { createdAt } }),
  }
}

/** Whatever somebody has enqueued. */
function readPayload(payload: string): { userId?: unknown; createdAt?: unknown } {
  const data: unknown = JSON.parse(payload)
  return typeof data === 'object' && data !== null ? data : {}
}

function groups<T>(rows: readonly T[], keyOf: (row: T) => string): Map<string, T[]> {
  const found = new Map<string, T[]>()
  for (const row of rows) {
    const own = found.get(keyOf(row))
    if (own) own.push(row)
    else found.set(keyOf(row), [row])
  }
  return found
}
