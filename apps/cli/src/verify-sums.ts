import { type Sql, sql, streamRows } from '@likewise/database'
import { LikeAdded, LikeRemoved } from '@likewise/events'
import { bucketNets } from '@likewise/metrics'
import type { Moment, Sides } from './verify-moment.ts'

/** What each side says of a product. */
export interface Sums {
  readonly productId: number
  readonly likes: number
  readonly likeCount: number
  /** Likes minus unlikes of its minutes, hours and days. */
  readonly inBuckets: number
  /** Events of the time that the outbox still covers: those it has, and those that are remembered as handled. */
  readonly written: Ids
  readonly handled: Ids
}

/** A set of event ids: how many, and the exclusive or of their last 48 bits, which are random. */
export interface Ids {
  readonly count: number
  readonly mix: number
}

export const likeTypes = [LikeAdded.properties.type.const, LikeRemoved.properties.type.const] as const
export const effectOf = (eventType: string): 1 | -1 => (eventType === likeTypes[0] ? 1 : -1)
export const isProduct = (key: string): boolean => /^[1-9]\d{0,15}$/.test(key)

/** The exclusive or, of numbers of 48 bits. */
export const mixed = (a: number, b: number): number =>
  ((Math.floor(a / 2 ** 24) ^ Math.floor(b / 2 ** 24)) >>> 0) * 2 ** 24 +
  (((a & 0xffffff) ^ (b & 0xffffff)) >>> 0)

export const mixOf = (id: string): number => Number.parseInt(id.slice(-12), 16)

/** The first id of that time: ids of version 7 are in the order of their times. */
export function firstIdOf(time: Date): string {
  const hex = time.getTime().toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`
}

// The same on both sides, which is the point of it.
const idsOf = (id: Sql): Sql => sql`count(*)::float8 as count,
  coalesce(bit_xor(substring(uuid_send(${id}) from 11)::bigint), 0)::float8 as mix`
const product = (key: Sql): Sql =>
  sql`case when ${key} ~ '^[1-9][0-9]{0,15}$' then ${key}::bigint end as product_id`

interface Side {
  productId: number
  own: number
  inBuckets?: number
  count: number
  mix: number
}

/** Both sides of every product, in the order of their ids. Each side is one sorted stream. */
export async function* streamSums(
  { committed, handled, ledger }: Pick<Moment, 'committed' | 'handled' | 'ledger'>,
  { consumer, topic }: Pick<Sides, 'consumer' | 'topic'>,
): AsyncGenerator<Sums[]> {
  const since = firstIdOf(ledger.coveredFrom)
  // Millions of products are grouped and sorted on both sides; with PostgreSQL's 4 MB, by way of the disk.
  for (const side of [committed, handled]) await side.execute(sql`set local work_mem = '64MB'`)
  const written = streamRows<Side>(
    committed,
    sql`
      select product_id::float8 as "productId", coalesce(likes, 0)::float8 as own, coalesce(count, 0) as count,
             coalesce(mix, 0) as mix
      from (select product_id, count(*) as likes from catalog.likes group by product_id) as l
      full join (
        select ${product(sql`partition_key`)}, ${idsOf(sql`id`)} from catalog.outbox_events
        where topic = ${topic} and event_type = any (${likeTypes}::text[]) and id >= ${since}::uuid
          and uuid_extract_version(id) = 7
        group by 1
      ) as e using (product_id)
      where product_id is not null order by product_id`,
  )
  const counted = streamRows<Side>(
    handled,
    sql`
      select product_id::float8 as "productId", coalesce(like_count, 0)::float8 as own, coalesce(net, 0) as "inBuckets",
             coalesce(count, 0) as count, coalesce(mix, 0) as mix
      from metrics.product_metrics full join ${bucketNets} as b using (product_id)
      full join (
        select ${product(sql`aggregate_id`)}, ${idsOf(sql`event_id`)} from metrics.event_handled
        where consumer = ${consumer} and event_id >= ${since}::uuid and event_type = any (${likeTypes}::text[])
        group by 1
      ) as h using (product_id)
      where product_id is not null order by product_id`,
  )
  yield* merged(written, counted)
}

const nothing: Omit<Side, 'productId'> = { own: 0, count: 0, mix: 0 }

async function* merged(ours: AsyncGenerator<Side[]>, theirs: AsyncGenerator<Side[]>): AsyncGenerator<Sums[]> {
  const [left, right] = [pagesOf(ours), pagesOf(theirs)]
  for (;;) {
    const page: Sums[] = []
    await left.fill()
    await right.fill()
    // Until one of the pages is used up, so that both are there.
    for (let [l, r] = [left.peek(), right.peek()]; l ?? r; [l, r] = [left.peek(), right.peek()]) {
      if ((!l && !left.isOver()) || (!r && !right.isOver())) break
      const productId = Math.min(l?.productId ?? Infinity, r?.productId ?? Infinity)
      const [a, b] = [l?.productId === productId ? left.take() : nothing, r?.productId === productId ? right.take() : nothing] // prettier-ignore
      page.push({
        ...{ productId, likes: a.own, likeCount: b.own, inBuckets: b.inBuckets ?? 0 },
        written: { count: a.count, mix: a.mix },
        handled: { count: b.count, mix: b.mix },
      })
    }
    if (page.length === 0) return
    yield page
  }
}

function pagesOf(pages: AsyncGenerator<Side[]>) {
  let [page, at, over]: [Side[], number, boolean] = [[], 0, false]
  return {
    async fill(): Promise<void> {
      if (over || at < page.length) return
      const next = await pages.next()
      if (next.done) over = true
      else [page, at] = [next.value, 0]
    },
    peek: (): Side | undefined => page[at],
    take(): Side {
      const side = page[at]
      if (!side) throw new Error('Taken from a page that is used up.')
      at += 1
      return side
    },
    isOver: (): boolean => over,
  }
}
