import { type Queryable, sql } from '@likewise/database'

export interface ProductMetrics {
  productId: number
  likeCount: number
  updatedAt: string | null
}

/** The like count of a product; a product nobody ever liked has 0 and no time. */
export async function readProductMetrics(db: Queryable, productId: number): Promise<ProductMetrics> {
  const [row] = await db.query<{ likeCount: bigint; updatedAt: Date }>(sql`
    select like_count as "likeCount", updated_at as "updatedAt"
    from metrics.product_metrics where product_id = ${productId}`)
  if (!row) return { productId, likeCount: 0, updatedAt: null }
  return { productId, likeCount: Number(row.likeCount), updatedAt: row.updatedAt.toISOString() }
}
