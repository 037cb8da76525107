import { type Queryable, sql } from '@likewise/database'

/** Windows of trending, in seconds. The longest is below the shortest time that minutes are kept (roll-up.ts). */
export const trendingWindows = { '5m': 300, '1h': 3_600, '24h': 86_400 } as const
export type TrendingWindow = keyof typeof trendingWindows

export interface Trending {
  window: TrendingWindow
  /** The whole minutes of the window and the running one, by the database's clock. */
  from: string
  to: string
  /** Those with more likes than unlikes, the largest difference first, then by product id. */
  products: { productId: number; score: number; added: number; removed: number }[]
}

/**
 * The products that gained most in a window of event time. Buckets ahead of the clock wait for their time.
 *
 * Reads every minute bucket of the window once, by bucket_start: docs/read-side.md has what that costs.
 */
export async function readTrending(
  db: Queryable,
  window: TrendingWindow,
  productsMax: number,
): Promise<Trending> {
  const rows = await db.query<{
    from: Date
    to: Date
    productId: bigint | null
    added: bigint
    removed: bigint
  }>(sql`
    with edges as (
      select date_trunc('minute', now() - ${trendingWindows[window]}::float8 * interval '1 second') as since, now() as until
    ), ranked as (
      select product_id, sum(added)::bigint as added, sum(removed)::bigint as removed
      from metrics.product_like_windows
      where bucket_start >= (select since from edges) and bucket_start <= (select until from edges)
      group by product_id
      having sum(added) > sum(removed)
      order by sum(added) - sum(removed) desc, product_id
      limit ${productsMax}::int
    )
    select since as "from", until as "to", product_id as "productId", added, removed
    from edges left join ranked on true
    order by added - removed desc, product_id`)
  const [first] = rows
  if (!first) throw new Error('A statement over one row of constants gave none.')
  return {
    window,
    from: first.from.toISOString(),
    to: first.to.toISOString(),
    products: rows.flatMap(({ productId, added, removed }) =>
      productId === null
        ? []
        : [
            {
              productId: Number(productId),
              score: Number(added - removed),
              added: Number(added),
              removed: Number(removed),
            },
          ],
    ),
  }
}
