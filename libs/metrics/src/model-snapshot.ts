import { type Queryable, type Tx, raw, sql } from '@likewise/database'

const packedMax = 10_000

const bucketTables = { minute: 'product_like_windows', hour: 'product_like_hours', day: 'product_like_days' }

/**
 * Writes the live model down under the number of a snapshot: counts and buckets, packed. In a REPEATABLE READ transaction it
 * is as of one moment, together with what else is written there.
 */
export async function saveModel(tx: Tx, snapshotId: bigint): Promise<void> {
  await tx.execute(sql`
    insert into metrics.snapshot_counts (snapshot_id, n, product_ids, like_counts)
    select ${snapshotId}, n, array_agg(product_id order by product_id), array_agg(like_count order by product_id)
    from (
      select *, ((row_number() over (order by product_id) - 1) / ${packedMax}::int)::int as n from metrics.product_metrics
    ) as placed group by n`)
  for (const [resolution, table] of Object.entries(bucketTables)) {
    await tx.execute(sql`
      insert into metrics.snapshot_buckets (snapshot_id, resolution, n, product_ids, bucket_starts, added, removed)
      select ${snapshotId}, ${resolution}, n, array_agg(product_id order by place), array_agg(bucket_start order by place),
             array_agg(added order by place), array_agg(removed order by place)
      from (
        select *, ((place - 1) / ${packedMax}::int)::int as n from (
          select *, row_number() over (order by product_id, bucket_start) as place from metrics.${raw(table)}
        ) as numbered
      ) as placed group by n`)
  }
}

export interface ModelSize {
  readonly snapshotId: bigint
  readonly products: number
  readonly buckets: number
}

/** How much of the model snapshots hold. */
export async function readModelSizes(
  db: Queryable,
  snapshotIds: readonly bigint[],
): Promise<Map<bigint, ModelSize>> {
  const sizes = await db.query<ModelSize>(sql`
    select id as "snapshotId",
           (select coalesce(sum(cardinality(product_ids)), 0)::float8 from metrics.snapshot_counts where snapshot_id = id)
             as products,
           (select coalesce(sum(cardinality(product_ids)), 0)::float8 from metrics.snapshot_buckets where snapshot_id = id)
             as buckets
    from unnest(${snapshotIds}::bigint[]) as asked(id)`)
  return new Map(sizes.map((size) => [size.snapshotId, size]))
}
