import { type Queryable, type Tx, sql } from '@likewise/database'

/** One partition as one consumer reads it. */
export interface Scope {
  readonly consumer: string
  readonly topic: string
  readonly partition: number
}

export interface Mark {
  readonly nextOffset: bigint
  /** The database's clock: what decides about ages is never a process's own. */
  readonly nowMs: number
}

/**
 * Locks the partition's mark until the end of the transaction. First statement of every batch: whoever else handles
 * this partition (a zombie, the next member, a redrive) waits here, and then sees what was done.
 */
export async function lockMark(tx: Tx, scope: Scope): Promise<Mark> {
  const { consumer, topic, partition } = scope
  const read = () =>
    tx.query<Mark>(sql`
      select next_offset as "nextOffset", (extract(epoch from clock_timestamp()) * 1000)::float8 as "nowMs"
      from metrics.consumer_offsets
      where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int
      for update`)
  const [mark] = await read()
  if (mark) return mark
  await tx.execute(sql`
    insert into metrics.consumer_offsets (consumer, topic, partition, next_offset)
    values (${consumer}, ${topic}, ${partition}::int, 0) on conflict do nothing`)
  const [made] = await read()
  if (!made)
    throw new Error(`No row in consumer_offsets for ${topic}/${String(partition)} right after its insert.`)
  return made
}

/** Moves the mark behind the batch, in the transaction of its effects. */
export async function moveMark(
  tx: Tx,
  { consumer, topic, partition }: Scope,
  nextOffset: bigint,
  lastEventId: string | null,
): Promise<void> {
  await tx.execute(sql`
    update metrics.consumer_offsets
    set next_offset = ${nextOffset}, last_event_id = ${lastEventId}::uuid, updated_at = now()
    where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int`)
}

/** How far a consumer has got in each partition of a topic. */
export async function readMarks(
  db: Queryable,
  consumer: string,
  topic: string,
): Promise<{ partition: number; nextOffset: bigint; updatedAt: Date }[]> {
  return db.query(sql`
    select partition, next_offset as "nextOffset", updated_at as "updatedAt"
    from metrics.consumer_offsets where consumer = ${consumer} and topic = ${topic} order by partition`)
}
