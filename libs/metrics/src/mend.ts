import { type Queryable, type Sql, type Tx, join, raw, sql } from '@likewise/database'
import type { Resolution } from './resolution.ts'

/** A product's likes and unlikes in one stretch of time, as one of the three tables has them. */
export interface Bucket {
  readonly productId: bigint
  readonly start: Date
  readonly resolution: Resolution
  readonly added: bigint
  readonly removed: bigint
}

const tables = [
  { resolution: 'minute', table: 'product_like_windows' },
  { resolution: 'hour', table: 'product_like_hours' },
  { resolution: 'day', table: 'product_like_days' },
] as const

/** All buckets of these products. */
export async function readBuckets(db: Queryable, productIds: readonly bigint[]): Promise<Bucket[]> {
  const parts = tables.map(
    ({ resolution, table }) => sql`
      select product_id as "productId", bucket_start as start, ${raw(`'${resolution}'`)} as resolution, added, removed
      from metrics.${raw(table)} where product_id = any (${productIds}::bigint[])`,
  )
  return db.query<Bucket>(join(parts, ' union all '))
}

/** Likes minus unlikes of all buckets, by product; for a `from` clause. */
export const bucketNets: Sql = sql`(
    select product_id, sum(added - removed)::float8 as net
    from (${join(
      tables.map(({ table }) => sql`select product_id, added, removed from metrics.${raw(table)}`),
      ' union all ',
    )}) as buckets
    group by product_id
  )`

/**
 * Locks all there is of a product, until the end of the transaction: no roll-up moves any of it. In the order in which a batch
 * takes the tables and a roll-up goes through them; batches of the product must be kept out by their marks.
 */
export async function lockProduct(tx: Tx, productId: bigint): Promise<void> {
  for (const { table } of tables) {
    await tx.query(sql`
      select 1 as locked from metrics.${raw(table)} where product_id = ${productId} order by bucket_start for update`)
  }
  await tx.query(sql`
    select 1 as locked from metrics.product_metrics where product_id = ${productId} for update`)
}

/** Sets a product's count. Under lockProduct, as what follows. */
export async function setCount(tx: Tx, productId: bigint, likeCount: bigint): Promise<void> {
  await tx.execute(sql`
    insert into metrics.product_metrics as m (product_id, like_count, updated_at)
    values (${productId}, ${likeCount}::bigint, now())
    on conflict (product_id) do update set like_count = excluded.like_count, updated_at = excluded.updated_at`)
}

/**
 * Sets buckets, and takes away what shorter or longer ones hold of the same time. One that holds nothing is written, too: a
 * switch that has compared the models before sees by it that something has changed here.
 */
export async function setBuckets(tx: Tx, buckets: readonly Bucket[]): Promise<void> {
  for (const { productId, start, resolution, added, removed } of buckets) {
    const end = sql`${start}::timestamptz + ${`1 ${resolution}`}::interval`
    for (const { table } of tables) {
      await tx.execute(sql`
        delete from metrics.${raw(table)}
        where product_id = ${productId} and bucket_start >= ${start}::timestamptz and bucket_start < ${end}`)
    }
    const into = tables.find((one) => one.resolution === resolution)?.table ?? 'product_like_windows'
    await tx.execute(sql`
      insert into metrics.${raw(into)} (product_id, bucket_start, added, removed)
      values (${productId}, ${start}::timestamptz, ${added}::bigint, ${removed}::bigint)`)
  }
}
