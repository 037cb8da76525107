import { sql, streamRows } from '@likewise/database'
import { readRemembered } from '@likewise/inbox'
import { readHeldSince, rowsSince } from '@likewise/outbox'
import type { Moment, Sides } from './verify-moment.ts'
import {
  type Ids,
  type Sums,
  effectOf,
  firstIdOf,
  isProduct,
  likeTypes,
  mixOf,
  mixed,
  streamSums,
} from './verify-sums.ts'

/** A product that must be looked at closely: it may be that nothing is wrong with it. */
export interface Suspect {
  readonly productId: number
  /** Rows of the outbox, about. */
  readonly events: number
}

export interface Compared {
  readonly products: number
  readonly likes: number
  readonly suspects: readonly Suspect[]
  /** So many more were found. */
  readonly more: number
}

/** So many are looked at in one run; where more differ, it is no matter of single products. */
const suspectsMax = 10_000
/**
 * So many more whose count is right and not the sum of their buckets: of a few, buckets were lost; where it is so of many,
 * they have counts of before there were buckets, and nothing is wrong.
 */
const unevenMax = 1_000

/** Why the sums of a product are not the same on both sides although nothing is wrong with it. */
interface Known {
  /** Likes minus unlikes that were handled after the moment. */
  ahead: number
  /** Their ids. */
  ids: Ids
  /** Some of its events wait for a decision, or have been given up. */
  waits: boolean
}

/** Compares every product. Holds a page of each side, and what was handled after the moment by product. */
export async function compareAll(
  moment: Moment,
  sides: Sides,
  tell: (products: number, about: number) => void,
): Promise<Compared> {
  const known = await readKnown(moment, sides)
  const about = await countAbout(moment)
  tell(0, Math.max(about, 0)) // both sides are sorted before the first one comes
  const [suspects, uneven]: [Suspect[], Suspect[]] = [[], []]
  const found = { products: 0, likes: 0, more: 0 }
  for await (const page of streamSums(moment, sides)) {
    for (const sums of page) {
      found.products += 1
      found.likes += sums.likes
      const suspect = { productId: sums.productId, events: sums.written.count }
      if (!isSuspect(sums, known.get(sums.productId))) {
        if (sums.likeCount !== sums.inBuckets && uneven.length < unevenMax) uneven.push(suspect)
      } else if (suspects.length < suspectsMax) suspects.push(suspect)
      else found.more += 1
    }
    tell(found.products, Math.max(about, found.products))
  }
  return { ...found, suspects: [...suspects, ...uneven] }
}

/** Products that have a count, as the statistics have it. */
async function countAbout({ handled }: Moment): Promise<number> {
  const [row] = await handled.query<{ about: number }>(
    sql`select reltuples::float8 as about from pg_class where oid = 'metrics.product_metrics'::regclass`,
  )
  return row?.about ?? 0
}

const nothing: Known = { ahead: 0, ids: { count: 0, mix: 0 }, waits: false }

/** Pure. */
function isSuspect({ likes, likeCount, written, handled }: Sums, known: Known = nothing): boolean {
  const { ahead, ids, waits } = known
  if (waits || likes !== likeCount - ahead) return true
  return written.count !== handled.count - ids.count || written.mix !== mixed(handled.mix, ids.mix)
}

interface Named {
  id: string
  key: string
  eventType: string
}

async function readKnown(moment: Moment, { consumer, topic }: Sides): Promise<Map<number, Known>> {
  const { handled, later, ledger } = moment
  const known = new Map<number, Known>()
  const noted = (key: string): Known => {
    const one = known.get(Number(key)) ?? structuredClone(nothing)
    if (isProduct(key)) known.set(Number(key), one)
    return one
  }
  const firstId = firstIdOf(ledger.coveredFrom)
  const after = sql`
    select id::text as id, partition_key as key, event_type as "eventType" from ${rowsSince(ledger.snapshot)} as e
    where topic = ${topic} and event_type = any (${likeTypes}::text[])`
  for await (const page of streamRows<Named>(later, after)) {
    const remembered = await readRemembered(handled, consumer, page.map(({ id }) => id)) // prettier-ignore
    for (const { id, key, eventType } of page) {
      const its = remembered.get(id)
      if (!its) continue
      const one = noted(key)
      if (!its.discarded) one.ahead += effectOf(eventType)
      if (id >= firstId) one.ids = { count: one.ids.count + 1, mix: mixed(one.ids.mix, mixOf(id)) }
    }
  }
  const held = await readHeldSince(later, ledger, { topic })
  for (const { partitionKey } of held) noted(partitionKey).waits = true
  const letters = sql`
    select distinct record_key as key from metrics.dead_letters
    where consumer = ${consumer} and topic = ${topic} and resolved_at is null and length(record_key) <= 16`
  for await (const page of streamRows<{ key: string }>(handled, letters))
    for (const { key } of page) noted(key).waits = true
  return known
}
