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
