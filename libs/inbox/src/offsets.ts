import { type Queryable, type Sql, type Tx, empty, sql } from '@likewise/database'

/** One partition as one consumer reads it. */
export interface Scope {
  readonly consumer: string
  readonly topic: string
  readonly partition: number
}

export interface Mark {
  readonly nextOffset: bigint
  /** What the record before nextOffset is known by (see `namesOf`); null where nothing was read yet, or it was not noted. */
  readonly lastRecord: string | null
  /** The database's clock: what decides about ages is never a process's own. */
  readonly nowMs: number
}

/**
 * Locks the partition's mark until the end of the transaction. First statement of every batch: whoever else handles the
 * partition (a zombie, the next member, a redrive) waits here, and then sees what was done.
 */
export async function lockMark(tx: Queryable, scope: Scope): Promise<Mark> {
  const { consumer, topic, partition } = scope
  const found = await lockRows(tx, scope, [partition])
  const mark = found.get(partition)
  if (mark) return mark
  await tx.execute(sql`
    insert into metrics.consumer_offsets (consumer, topic, partition, next_offset)
    values (${consumer}, ${topic}, ${partition}::int, 0) on conflict do nothing`)
  const made = await lockRows(tx, scope, [partition])
  const fresh = made.get(partition)
  if (!fresh)
    throw new Error(`No row in consumer_offsets for partition ${String(partition)} right after its insert.`)
  return fresh
}

/** Locks, in their order, those of the partitions' marks that are there and that nobody holds; waits for none. */
export const lockFreeMarks = (
  tx: Queryable,
  scope: Pick<Scope, 'consumer' | 'topic'>,
  partitions: readonly number[],
): Promise<Map<number, Mark>> => lockRows(tx, scope, partitions, sql`skip locked`)

async function lockRows(
  tx: Queryable,
  { consumer, topic }: Pick<Scope, 'consumer' | 'topic'>,
  partitions: readonly number[],
  whereHeld: Sql = empty,
): Promise<Map<number, Mark>> {
  const marks = await tx.query<Mark & { partition: number }>(sql`
    select partition, next_offset as "nextOffset", coalesce(last_event_id::text, case
             -- A consumer of the version before moves the mark and leaves this one behind.
             when split_part(last_record, ':', 1) = (next_offset - 1)::text then last_record end) as "lastRecord",
           (extract(epoch from clock_timestamp()) * 1000)::float8 as "nowMs"
    from metrics.consumer_offsets
    where consumer = ${consumer} and topic = ${topic} and partition = any (${partitions}::int[])
    order by partition for update ${whereHeld}`)
  return new Map(marks.map(({ partition, ...mark }) => [partition, mark]))
}

/** A mark as this process left it. */
export interface LeftMark {
  readonly partition: number
  readonly nextOffset: bigint
  /** Its `updated_at`, to the microsecond. */
  readonly touchedAt: string
  /** The database's clock then, and this process's `performance.now()`. */
  readonly nowMs: number
  readonly readMs: number
}

/** The database's clock now, as far as this process can tell. */
export const nowMsOf = ({ nowMs, readMs }: LeftMark): number => nowMs + performance.now() - readMs

/** So far the database's clock may be from where it is thought to be. */
const clockOffMaxMs = 60_000

/**
 * Locks the marks and tells whether anything was done to one of them since it was left, or somebody has it, or the clock is
 * another one. It waits for none: whoever holds one may be at it for minutes.
 *
 * A lock takes the row as it is by then, whatever the statement's snapshot says; nothing else that the statement reads by
 * its snapshot may have changed without the mark being moved or touched.
 */
export const changedSince = (
  { consumer, topic }: Pick<Scope, 'consumer' | 'topic'>,
  marks: readonly LeftMark[],
  nowMs: number,
): Sql => sql`(
    abs(extract(epoch from clock_timestamp()) * 1000 - ${nowMs}::float8) > ${clockOffMaxMs}::float8 or
    (select count(*) from (
      select 1 as held
      from unnest(${marks.map(({ partition }) => partition)}::int[],
                  ${marks.map(({ nextOffset }) => nextOffset)}::bigint[],
                  ${marks.map(({ touchedAt }) => touchedAt)}::timestamptz[]) as was(partition, next_offset, touched_at)
      join metrics.consumer_offsets as o
        on o.consumer = ${consumer} and o.topic = ${topic} and o.partition = was.partition
          and o.next_offset = was.next_offset and o.updated_at = was.touched_at
      order by o.partition for update of o skip locked
    ) as unchanged) < ${marks.length}::int
  )`

/**
 * To be said under the mark's lock by whoever parks something before the mark and does not move it: whoever left the mark so
 * looks again at what waits.
 */
export const touchMark = (tx: Queryable, { consumer, topic, partition }: Scope): Promise<number> =>
  tx.execute(sql`
    update metrics.consumer_offsets set updated_at = clock_timestamp()
    where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int`)

/** Letters moved by one statement: a hundred thousand took 7 s, and a statement has 10. */
const movedAtOnceMax = 10_000

/**
 * The log is not the one that the mark is of: reads it from its beginning. What had its effect is known by its id.
 * Dead letters of the old log move to offsets below 0, in their order and below all that are there already: their
 * places belong to the new log's records, and a redrive still takes the old ones first.
 */
export async function dropMark(tx: Tx, { consumer, topic, partition }: Scope): Promise<void> {
  const letters = sql`metrics.dead_letters
    where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int`
  const [old] = await tx.query<{ first: bigint | null; span: bigint }>(sql`
    select min(record_offset) as first, max(record_offset) - least(min(record_offset), 0) + 1 as span from ${letters}`)
  for (let next = old?.first ?? null; old && next !== null;) {
    const [step]: { next: bigint | null }[] = await tx.query(sql`
      with page as materialized (
        select id, record_offset from ${letters} and record_offset >= ${next}::bigint
        order by record_offset limit ${movedAtOnceMax}::int
      ), moved as (
        update metrics.dead_letters as d set record_offset = d.record_offset - ${old.span}::bigint
        from page where d.id = page.id
      )
      select max(record_offset) + 1 as next from page`)
    next = step?.next ?? null
  }
  await tx.execute(sql`
    update metrics.consumer_offsets
    set next_offset = 0, last_event_id = null, last_record = null, started_offset = null, started_end = null, starts = 0, updated_at = now(),
        replaced_at = clock_timestamp()
    where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int`)
}

/** How far a consumer has got in a partition of a topic. */
export interface LiveMark {
  readonly partition: number
  readonly nextOffset: bigint
  readonly lastEventId: string | null
  /** When its log was last found to be another one than before. */
  readonly replacedAt: Date | null
  readonly updatedAt: Date
}

export async function readMarks(db: Queryable, consumer: string, topic: string): Promise<LiveMark[]> {
  return db.query<LiveMark>(sql`
    select partition, next_offset as "nextOffset", last_event_id::text as "lastEventId", replaced_at as "replacedAt",
           updated_at as "updatedAt"
    from metrics.consumer_offsets where consumer = ${consumer} and topic = ${topic} order by partition`)
}

/** Where a consumer goes on, by partition; those that it has never read are not there. */
export async function readNextOffsets(
  db: Queryable,
  consumer: string,
  topic: string,
): Promise<Map<number, bigint>> {
  const marks = await readMarks(db, consumer, topic)
  return new Map(marks.map(({ partition, nextOffset }) => [partition, nextOffset]))
}
