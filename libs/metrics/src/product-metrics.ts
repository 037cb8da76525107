import { type Queryable, sql } from '@likewise/database'

export interface ProductMetrics {
  productId: number
  likeCount: number
  updatedAt: string | null
}

/** The like count of a product; a product nobody ever liked has 0 and no time. */
export async function readProductMetrics(db: Queryable, productId: number): Promise<ProductMetrics> {
  const [state] = await readStates(db, [productId])
  return state?.metrics ?? { productId, likeCount: 0, updatedAt: null }
}

export interface ProductState {
  metrics: ProductMetrics
  /** Differs whenever the metrics do. Only to be compared: a transaction that began earlier may commit later. */
  version: string
}

interface Row {
  productId: bigint
  likeCount: bigint
  updatedAt: Date
  micros: bigint
}

/** The states of many products by one statement; in the order asked, also of those nobody ever liked. */
export async function readStates(db: Queryable, productIds: readonly number[]): Promise<ProductState[]> {
  const rows = await db.query<Row>(sql`
    select product_id as "productId", like_count as "likeCount", updated_at as "updatedAt",
           (extract(epoch from updated_at) * 1000000)::bigint as micros
    from metrics.product_metrics where product_id = any (${productIds}::bigint[])`)
  const known = new Map(rows.map((row) => [Number(row.productId), row]))
  return productIds.map((productId) => {
    const row = known.get(productId)
    if (!row) return { metrics: { productId, likeCount: 0, updatedAt: null }, version: '0-0' }
    const likeCount = Number(row.likeCount)
    return {
      metrics: { productId, likeCount, updatedAt: row.updatedAt.toISOString() },
      version: `${String(row.micros)}-${String(likeCount)}`,
    }
  })
}
