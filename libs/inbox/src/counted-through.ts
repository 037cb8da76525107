import { type Queryable, type Sql, sql } from '@likewise/database'
import { shardCount, shardOf } from '@likewise/events'
import type { Scope } from './offsets.ts'
import { buildWatermarks } from './watermarks.ts'

/** One topic as one consumer reads it. */
type Whole = Pick<Scope, 'consumer' | 'topic'>

/** A partition's log, as the broker tells it. */
export interface Log {
  readonly partition: number
  readonly start: bigint
  readonly end: bigint
}

/** Several consumers tell the same: once is enough. */
const newerByMsMin = 500

/**
 * Notes how far the counts have got, each time it is called: reads the marks, then the ends of the logs, and writes what
 * they prove. Any member may do it for all partitions, since only what is committed counts.
 */
export function buildCountedThrough(
  db: Queryable,
  { consumer, topic }: Whole,
  readLogs: () => Promise<readonly Log[]>,
): () => Promise<void> {
  const watermarks = buildWatermarks()
  return async () => {
    const [found] = await db.query<{ at: bigint; marks: [partition: number, next: string][] | null }>(sql`
      select (extract(epoch from now()) * 1000000)::bigint as at,
             (select json_agg(json_build_array(partition, next_offset::text)) from metrics.consumer_offsets
              where consumer = ${consumer} and topic = ${topic}) as marks`)
    if (!found) throw new Error('A statement over one row of constants gave none.')
    const marks = new Map((found.marks ?? []).map(([partition, next]) => [partition, BigInt(next)]))
    const logs = await readLogs()
    const proven = logs.map((log) =>
      watermarks.see({ ...log, at: found.at, next: marks.get(log.partition) ?? 0n }),
    )
    // A row for every partition, also where nothing is proven: who reads must know that there is such a partition.
    await db.execute(sql`
      insert into metrics.counted_through as c (consumer, topic, partition, at)
      select ${consumer}, ${topic}, partition, to_timestamp(0) + micros * interval '1 microsecond'
      from unnest(${logs.map(({ partition }) => partition)}::int[], ${proven}::bigint[]) as p(partition, micros)
      order by partition
      on conflict (consumer, topic, partition) do update set at = excluded.at
      where c.at is null and excluded.at is not null
         or excluded.at > c.at + ${newerByMsMin}::float8 * interval '1 millisecond'`)
  }
}

export interface CountedThrough {
  /** Every event of this key that the topic held at that time is counted; null: not known. */
  of: (key: string) => string | null
  /** The same for every key. */
  readonly all: string | null
}

/**
 * How far the counts have got. Read it **before** the counts it is told with: what is counted meanwhile does no harm.
 *
 * A dead letter that waits is not counted, so its key is counted to the moment that it was made at most, until it is
 * redriven or discarded.
 * @param keys those that will be asked about; all, where left out.
 */
export async function readCountedThrough(
  db: Queryable,
  { consumer, topic }: Whole,
  keys?: readonly string[],
): Promise<CountedThrough> {
  const rows = await db.query<{ partition: number | null; key: string | null; at: Date | null }>(sql`
    select partition, null as key, date_trunc('milliseconds', at) as at from metrics.counted_through
    where consumer = ${consumer} and topic = ${topic}
    union all
    select null, key, date_trunc('milliseconds', min(at))
    from (${waitingLetters({ consumer, topic }, keys)}) as letter(key, at) group by key`)
  const partitions = rows.flatMap(({ partition, at }) => (partition === null ? [] : [{ partition, at }]))
  const letters = new Map(
    rows.flatMap(({ partition, key, at }) => (partition === null && key !== null ? [[key, at]] : [])),
  )
  // A shard feeds the partitions that are congruent to it, as long as their number is a multiple of the shards'.
  const isSharded = partitions.length % shardCount === 0
  const ofShard = (shard: number) =>
    earliest(partitions.filter(({ partition }) => !isSharded || partition % shardCount === shard).map(atOf))
  return {
    of: (key) => {
      const letter = letters.get(key)
      const partition = ofShard(shardOf(key))
      return isoOf(letter && partition ? earliest([letter, partition]) : partition)
    },
    all: isoOf(earliest(partitions.map(atOf).concat([...letters.values()]))),
  }
}

/**
 * When the dead letters that wait were made, by the earliest of three clocks: the database's, the broker's, and that of
 * the event's maker. Keys are looked for by the two indexes that are made for it (see the migration of dead letters).
 */
function waitingLetters({ consumer, topic }: Whole, keys: readonly string[] | undefined): Sql {
  const madeAt = sql`
    select record_key, least(parked_at, record_time, case when uuid_extract_version(event_id) = 7
                                                          then uuid_extract_timestamp(event_id) end)
    from metrics.dead_letters where consumer = ${consumer} and topic = ${topic} and resolved_at is null`
  if (!keys) return madeAt
  const asked = sql`record_key = any (${keys}::text[])`
  return sql`${madeAt} and blocks_key and ${asked}
    union all ${madeAt} and not blocks_key and length(record_key) <= 16 and ${asked}`
}

const atOf = ({ at }: { at: Date | null }): Date | null => at

/** Null where one is not known, or there is none. */
function earliest(all: readonly (Date | null)[]): Date | null {
  let first: Date | null = null
  for (const at of all) {
    if (at === null) return null
    if (first === null || at < first) first = at
  }
  return first
}

const isoOf = (at: Date | null): string | null => at?.toISOString() ?? null
