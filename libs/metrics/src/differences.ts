import { type Queryable, type Sql, type Tx, join, raw, sql } from '@likewise/database'

/** A product whose count is another one. */
export interface CountDifference {
  readonly productId: bigint
  readonly live: bigint
  readonly rebuilt: bigint
}

/** A stretch of time in which a product's likes or unlikes are others. */
export interface BucketDifference {
  readonly productId: bigint
  readonly from: Date
  readonly resolution: 'minute' | 'hour' | 'day'
  readonly live: { readonly added: bigint; readonly removed: bigint }
  readonly rebuilt: { readonly added: bigint; readonly removed: bigint }
}

export interface Differences {
  readonly products: number
  readonly buckets: number
  /** The first of each, by product. */
  readonly counts: readonly CountDifference[]
  readonly windows: readonly BucketDifference[]
}

const shownMax = 20

/**
 * What the rebuilt model says otherwise than the live one, as of the transaction that this runs in: to be taken where both
 * stand at the same offsets. What is not there counts 0.
 *
 * The same likes may lie in minutes here and in their hour there, since roll-ups come when they come: each stretch is
 * compared at the finest resolution that both know.
 */
export async function readDifferences(db: Queryable): Promise<Differences> {
  const [counted] = await db.query<{ products: number }>(
    sql`select count(*)::float8 as products from (${differingCounts}) as differing`,
  )
  const counts = await db.query<CountDifference>(sql`
    select product_id as "productId", live, rebuilt from (${differingCounts}) as differing
    order by product_id limit ${shownMax}::int`)
  const buckets = await db.query<BucketRow>(sql`
    select product_id as "productId", bucket as "from", resolution, live_added as "liveAdded",
           live_removed as "liveRemoved", rebuilt_added as "rebuiltAdded", rebuilt_removed as "rebuiltRemoved",
           count(*) over ()::float8 as total
    from (${differingBuckets}) as differing order by product_id, bucket limit ${shownMax}::int`)
  return {
    products: counted?.products ?? 0,
    buckets: buckets[0]?.total ?? 0,
    counts,
    windows: buckets.map(({ liveAdded, liveRemoved, rebuiltAdded, rebuiltRemoved, ...row }) => ({
      ...{ productId: row.productId, from: row.from, resolution: row.resolution },
      live: { added: liveAdded, removed: liveRemoved },
      rebuilt: { added: rebuiltAdded, removed: rebuiltRemoved },
    })),
  }
}

type BucketRow = Pick<BucketDifference, 'productId' | 'from' | 'resolution'> & {
  liveAdded: bigint
  liveRemoved: bigint
  rebuiltAdded: bigint
  rebuiltRemoved: bigint
  total: number
}

/**
 * Makes the live model what the rebuilt one is, in the transaction of the switch: only what differs is written, so readers
 * wait for nothing, grants and statistics stay, and it costs as much as comparing. Under lockModel.
 */
export async function adoptShadow(tx: Tx): Promise<Differences> {
  const differences = await readDifferences(tx)
  if (differences.products > 0) await adoptCounts(tx)
  if (differences.buckets > 0) await adoptBuckets(tx)
  return differences
}

/** Keeps writers of any kind out, in the order in which a batch takes the tables; readers go on. */
export async function lockModel(tx: Tx): Promise<void> {
  await tx.execute(sql`
    lock table metrics.product_metrics, metrics.product_like_windows, metrics.product_like_hours, metrics.product_like_days
    in share row exclusive mode`)
}

async function adoptCounts(tx: Tx): Promise<void> {
  await tx.execute(sql`
    insert into metrics.product_metrics as m (product_id, like_count, updated_at)
    select product_id, rebuilt, now() from (${differingCounts}) as differing order by product_id
    on conflict (product_id) do update set like_count = excluded.like_count, updated_at = excluded.updated_at`)
}

/** Whole days of a product, in all resolutions: so nothing of the old stays beside the new. */
async function adoptBuckets(tx: Tx): Promise<void> {
  await tx.execute(sql`
    create temporary table differing_days on commit drop as
    select distinct product_id, date_trunc('day', bucket, 'UTC') as day from (${differingBuckets}) as differing`)
  for (const { live, rebuilt } of tables) {
    await tx.execute(sql`
      delete from metrics.${raw(live)} as w using differing_days as d
      where w.product_id = d.product_id and w.bucket_start >= d.day and w.bucket_start < d.day + interval '1 day'`)
    await tx.execute(sql`
      insert into metrics.${raw(live)} (product_id, bucket_start, added, removed)
      select w.product_id, w.bucket_start, w.added, w.removed from metrics.${raw(rebuilt)} as w
      join differing_days as d
        on w.product_id = d.product_id and w.bucket_start >= d.day and w.bucket_start < d.day + interval '1 day'
      order by 1, 2`)
  }
}

const tables = [
  { unit: 'minute', live: 'product_like_windows', rebuilt: 'rebuild_minutes' },
  { unit: 'hour', live: 'product_like_hours', rebuilt: 'rebuild_hours' },
  { unit: 'day', live: 'product_like_days', rebuilt: 'rebuild_days' },
] as const

const differingCounts = sql`
  select product_id, coalesce(live.like_count, 0) as live, coalesce(rebuilt.like_count, 0) as rebuilt
  from metrics.product_metrics as live full join metrics.rebuild_counts as rebuilt using (product_id)
  where coalesce(live.like_count, 0) <> coalesce(rebuilt.like_count, 0)`

/** Days with a row that is not the same in both: few, where a model is right, and only these are looked at closely. */
const suspectDays: Sql = join(
  tables.map(
    ({ live, rebuilt }) => sql`
      select product_id, date_trunc('day', bucket_start, 'UTC') as day
      from metrics.${raw(live)} as live full join metrics.${raw(rebuilt)} as rebuilt using (product_id, bucket_start)
      where coalesce(live.added, 0) <> coalesce(rebuilt.added, 0)
         or coalesce(live.removed, 0) <> coalesce(rebuilt.removed, 0)`,
  ),
  ' union ',
)

const rowsOfSuspects: Sql = join(
  tables.flatMap(({ unit, live, rebuilt }) =>
    [
      { table: live, isLive: true },
      { table: rebuilt, isLive: false },
    ].map(
      ({ table, isLive }) => sql`
        select s.product_id, s.day, ${raw(`'${unit}'`)} as unit, ${raw(String(isLive))} as is_live, w.bucket_start,
               w.added, w.removed
        from suspects as s join metrics.${raw(table)} as w
          on w.product_id = s.product_id and w.bucket_start >= s.day and w.bucket_start < s.day + interval '1 day'`,
    ),
  ),
  ' union all ',
)

const differingBuckets = sql`
  with suspects as materialized (${suspectDays}), parts as (${rowsOfSuspects}), leveled as (
    select *,
      case when bool_or(unit = 'day') over (partition by product_id, day) then 'day'
           when bool_or(unit = 'hour') over (partition by product_id, date_trunc('hour', bucket_start, 'UTC')) then 'hour'
           else 'minute' end as resolution
    from parts
  ), summed as (
    select product_id, resolution, date_trunc(resolution, bucket_start, 'UTC') as bucket,
           coalesce(sum(added) filter (where is_live), 0)::bigint as live_added,
           coalesce(sum(removed) filter (where is_live), 0)::bigint as live_removed,
           coalesce(sum(added) filter (where not is_live), 0)::bigint as rebuilt_added,
           coalesce(sum(removed) filter (where not is_live), 0)::bigint as rebuilt_removed
    from leveled group by 1, 2, 3
  )
  select * from summed where live_added <> rebuilt_added or live_removed <> rebuilt_removed`
