import { type Queryable, type Sql, type Tx, arrayOf, join, raw, sql } from '@likewise/database'

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
export const readDifferences = (db: Queryable): Promise<Differences> => differencesAmong(db, everywhere)

/** Where the two may say something else: products, and days of a product. */
interface Suspects {
  readonly counts: Sql
  readonly days: Sql
}

async function differencesAmong(db: Queryable, suspects: Suspects): Promise<Differences> {
  const [counted] = await db.query<{ products: number }>(
    sql`select count(*)::float8 as products from (${suspects.counts}) as differing`,
  )
  const counts = await db.query<CountDifference>(sql`
    select product_id as "productId", live, rebuilt from (${suspects.counts}) as differing
    order by product_id limit ${shownMax}::int`)
  const buckets = await db.query<BucketRow>(sql`
    select product_id as "productId", bucket as "from", resolution, live_added as "liveAdded",
           live_removed as "liveRemoved", rebuilt_added as "rebuiltAdded", rebuilt_removed as "rebuiltRemoved",
           count(*) over ()::float8 as total
    from (${differingBuckets(suspects.days)}) as differing order by product_id, bucket limit ${shownMax}::int`)
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

/** More suspects than this are not remembered: nearly everything is another then, and writing it takes longer anyway. */
const rememberedMax = 200_000

/**
 * Compares the two while both go on, so that a switch has little left to compare under its locks: only what differed by now,
 * and what has changed since, on either side. The rest was the same and still is. In one REPEATABLE READ transaction.
 *
 * What has changed since is told by the transaction that wrote a row: one that this snapshot did not see is no older than
 * the oldest that was open then. Reading through a million rows for that takes 0.4 s where comparing them takes 2.
 * Rows that were deleted tell nothing: whoever takes likes out of the live model leaves a row in the same day (see
 * roll-up.ts, mend.ts).
 *
 * @returns what makes the live model the rebuilt one, in the transaction of the switch and under lockModel. Only what
 *   differs is written, so readers wait for nothing, and grants and statistics stay.
 */
export async function foreseeShadow(tx: Tx): Promise<(tx: Tx) => Promise<Differences>> {
  const [seen] = await tx.query<{ oldest: string }>(
    sql`select pg_snapshot_xmin(pg_current_snapshot())::text as oldest`,
  )
  const counts = await tx.query<{ productId: bigint }>(sql`
    select product_id as "productId" from (${everywhere.counts}) as differing limit ${rememberedMax + 1}::int`)
  const days = await tx.query<{ productId: bigint; day: string }>(sql`
    select distinct product_id as "productId", ${dayOf(sql`bucket`)}::text as day
    from (${differingBuckets(everywhere.days)}) as differing limit ${rememberedMax + 1}::int`)
  const isMost = Math.max(counts.length, days.length) > rememberedMax
  return async (later) => {
    const suspects = isMost
      ? everywhere
      : await findSuspects(later, { oldest: seen?.oldest ?? '0', counts, days })
    const differences = await differencesAmong(later, suspects)
    if (differences.products > 0) await adoptCounts(later, suspects)
    if (differences.buckets > 0) await adoptBuckets(later, suspects)
    return differences
  }
}

interface Foreseen {
  /** Of the transactions that were open. */
  readonly oldest: string
  readonly counts: readonly { productId: bigint }[]
  readonly days: readonly { productId: bigint; day: string }[]
}

async function findSuspects(tx: Tx, { oldest, counts, days }: Foreseen): Promise<Suspects> {
  // A row that is older than two billion transactions may look young: then it is compared, too.
  const isNew = sql`age(w.xmin) <= age(${oldest}::xid8::xid)`
  await tx.execute(sql`
    create temporary table suspect_products on commit drop as
    select unnest(${arrayOf(counts.map(({ productId }) => productId))}::bigint[]) as product_id
    union select product_id from metrics.product_metrics as w where ${isNew}
    union select product_id from metrics.rebuild_counts as w where ${isNew}`)
  const changed = tables.flatMap(({ live, rebuilt }) =>
    [live, rebuilt].map(
      (table) =>
        sql`select product_id, ${dayOf(sql`bucket_start`)} from metrics.${raw(table)} as w where ${isNew}`,
    ),
  )
  await tx.execute(sql`
    create temporary table suspect_days on commit drop as
    select unnest(${arrayOf(days.map(({ productId }) => productId))}::bigint[]) as product_id,
           unnest(${arrayOf(days.map(({ day }) => day))}::timestamptz[]) as day
    union ${join(changed, ' union ')}`)
  await tx.execute(sql`analyze suspect_products, suspect_days`)
  return {
    counts: sql`${everywhere.counts} and product_id in (select product_id from suspect_products)`,
    days: sql`select product_id, day from suspect_days`,
  }
}

const dayOf = (time: Sql): Sql => sql`date_trunc('day', ${time}, 'UTC')`

/**
 * Keeps writers of any kind out, in the order in which a batch takes the tables; readers go on. The order matters although
 * the marks are held by then: a small batch is one statement, which takes its tables before it looks at the marks.
 */
export async function lockModel(tx: Tx): Promise<void> {
  await tx.execute(sql`
    lock table metrics.product_like_windows, metrics.product_like_hours, metrics.product_like_days, metrics.product_metrics
    in share row exclusive mode`)
}

async function adoptCounts(tx: Tx, { counts }: Suspects): Promise<void> {
  await tx.execute(sql`
    insert into metrics.product_metrics as m (product_id, like_count, updated_at)
    select product_id, rebuilt, now() from (${counts}) as differing order by product_id
    on conflict (product_id) do update set like_count = excluded.like_count, updated_at = excluded.updated_at`)
}

/** Whole days of a product, in all resolutions: so nothing of the old stays beside the new. */
async function adoptBuckets(tx: Tx, { days }: Suspects): Promise<void> {
  await tx.execute(sql`
    create temporary table differing_days on commit drop as
    select distinct product_id, ${dayOf(sql`bucket`)} as day from (${differingBuckets(days)}) as differing`)
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

const everywhere: Suspects = {
  counts: sql`
    select product_id, coalesce(live.like_count, 0) as live, coalesce(rebuilt.like_count, 0) as rebuilt
    from metrics.product_metrics as live full join metrics.rebuild_counts as rebuilt using (product_id)
    where coalesce(live.like_count, 0) <> coalesce(rebuilt.like_count, 0)`,
  // Days with a row that is not the same in both: few, where a model is right, and only these are looked at closely.
  days: join(
    tables.map(
      ({ live, rebuilt }) => sql`
        select product_id, ${dayOf(sql`bucket_start`)} as day
        from metrics.${raw(live)} as live full join metrics.${raw(rebuilt)} as rebuilt using (product_id, bucket_start)
        where coalesce(live.added, 0) <> coalesce(rebuilt.added, 0)
           or coalesce(live.removed, 0) <> coalesce(rebuilt.removed, 0)`,
    ),
    ' union ',
  ),
}

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

const differingBuckets = (days: Sql): Sql => sql`
  with suspects as materialized (${days}), parts as (${rowsOfSuspects}), leveled as (
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
