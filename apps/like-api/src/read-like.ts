import { type Queryable, sql } from '@likewise/database'
import type { LikeKey } from './write.ts'

/** Whether the like is there, from the write side: who has written it, reads it. */
export async function readLike(db: Queryable, { userId, productId }: LikeKey): Promise<boolean> {
  const found = await db.query(
    sql`select 1 from catalog.likes where user_id = ${userId} and product_id = ${productId}`,
  )
  return found.length > 0
}
