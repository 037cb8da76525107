import { type Database, sql } from '@likewise/database'
import { topics } from '@likewise/events'
import { readNextOffsets } from '@likewise/inbox'

export interface Letter {
  partition: number
  offset: bigint
  key: string | null
  eventId: string | null
  reason: string
  blocksKey: boolean
  /** null: it waits. */
  resolution: string | null
}

/** All that one consumer has made of the topic. */
export interface ReadModel {
  /** The handled events by id, each with the number of its statement: an earlier one had its effect earlier. */
  steps: ReadonlyMap<string, number>
  letters: readonly Letter[]
  counts: ReadonlyMap<string, number>
  /** By `product at minute`. */
  minutes: ReadonlyMap<string, { added: number; removed: number }>
  unread: string[]
}

/** Where a partition's log ends, and how far its group has told the broker to be. */
export interface PartitionEnd {
  partition: number
  end: bigint
  committed: bigint | null
}

/**
 * Counts do not show in which order events had their effects, nor what was committed with what. Whoever remembers an id
 * holds the mark of its partition, so a number drawn in the same statement shows the order; and its transaction tells
 * which changes of the counts it came with.
 */
export async function noteSteps(db: Database): Promise<void> {
  await db.execute(sql`create schema faults`)
  await db.execute(sql`create sequence faults.step`)
  await db.execute(sql`
    create table faults.handled (consumer text, event_id uuid, step bigint, xid xid8 default pg_current_xact_id())`)
  await db.execute(sql`
    create table faults.counted (product_id bigint, added bigint, removed bigint, step bigint,
                                 xid xid8 default pg_current_xact_id())`)
  await db.execute(sql`
    create function faults.note() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
      declare number constant bigint := nextval('faults.step');
      begin
        insert into faults.handled select consumer, event_id, number from fresh;
        return null;
      end $$`)
  await db.execute(sql`
    create trigger note after insert on metrics.event_handled referencing new table as fresh
    for each statement execute function faults.note()`)
  await db.execute(sql`
    create function faults.note_change() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
      begin
        insert into faults.counted select new.product_id, new.added - coalesce(old.added, 0),
                                          new.removed - coalesce(old.removed, 0), nextval('faults.step');
        return null;
      end $$`)
  await db.execute(sql`
    create trigger note after insert or update on metrics.product_like_windows
    for each row execute function faults.note_change()`)
}

export async function readModel(
  db: Database,
  consumer: string,
  ends: readonly PartitionEnd[],
): Promise<ReadModel> {
  const [steps, letters, counts, minutes, unread] = await Promise.all([
    db.query<{ id: string; step: bigint }>(sql`
      select e.event_id::text as id, h.step from metrics.event_handled as e
      left join faults.handled as h on h.event_id = e.event_id and h.consumer = e.consumer
      where e.consumer = ${consumer}`),
    db.query<Letter>(sql`
      select partition, record_offset as offset, record_key as key, event_id::text as "eventId", reason,
             blocks_key as "blocksKey", resolution
      from metrics.dead_letters where consumer = ${consumer}`),
    db.query<{ id: bigint; count: bigint }>(sql`
      select product_id as id, like_count as count from metrics.product_metrics`),
    db.query<{ id: bigint; at: Date; added: bigint; removed: bigint }>(sql`
      select product_id as id, bucket_start as at, added, removed from metrics.product_like_windows`),
    readUnread(db, consumer, ends),
  ])
  return {
    steps: new Map(steps.map(({ id, step }) => [id, Number(step)])),
    letters,
    counts: new Map(counts.map(({ id, count }) => [String(id), Number(count)])),
    minutes: new Map(
      minutes.map(({ id, at, added, removed }) => [
        `${String(id)} at ${at.toISOString()}`,
        { added: Number(added), removed: Number(removed) },
      ]),
    ),
    unread,
  }
}

/** Partitions of which not everything was handled and told to the broker. */
export async function readUnread(
  db: Database,
  consumer: string,
  ends: readonly PartitionEnd[],
): Promise<string[]> {
  const marks = await readNextOffsets(db, consumer, topics.catalogEvents)
  return ends.flatMap(({ partition, end, committed }) => {
    const [mark, told] = [marks.get(partition) ?? 0n, committed ?? 0n]
    // An empty log has nothing to be read, whatever was reached in one before it.
    if (end === 0n || (mark === end && told === end)) return []
    return `${String(partition)}: marked ${String(mark)}, committed ${String(told)} of ${String(end)}`
  })
}
