import { type Queryable, type Tx, sql } from '@likewise/database'
import { Failure } from '@likewise/service'

export interface SnapshotState {
  readonly id: bigint
  readonly consumer: string
  readonly topic: string
  readonly takenAt: Date
  readonly takenBy: string
  /** Records of the topic that lie before it. */
  readonly records: number
  /** Events it knows by their ids. */
  readonly ids: number
}

export interface SnapshotOf {
  readonly consumer: string
  readonly topic: string
}

/** Ids, or counts, or buckets in one row. */
const packedMax = 10_000

/**
 * Writes down where the consumer stands, the ids that event_handled holds (what is published again behind the snapshot is
 * known by them), and which letters wait. The model itself is libs/metrics' to write, in the same transaction, which must
 * be REPEATABLE READ: all of it is then as of one moment, and nobody waits.
 */
export async function takeSnapshot(
  tx: Tx,
  { consumer, topic, takenBy }: SnapshotOf & { takenBy: string },
): Promise<bigint> {
  const [snapshot] = await tx.query<{ id: bigint }>(sql`
    insert into metrics.snapshots (consumer, topic, taken_by, open_letters)
    select ${consumer}, ${topic}, ${takenBy}, array(
      select id from metrics.dead_letters where consumer = ${consumer} and topic = ${topic} and resolved_at is null)
    returning id`)
  if (!snapshot) throw new Error('An insert of one row gave none.')
  const { id } = snapshot
  const marks = await tx.execute(sql`
    insert into metrics.snapshot_offsets (snapshot_id, partition, next_offset, last_event_id)
    select ${id}, partition, next_offset, last_event_id from metrics.consumer_offsets
    where consumer = ${consumer} and topic = ${topic}`)
  if (marks === 0)
    throw new Failure(
      'NOT_FOUND',
      `Consumer ${consumer} has handled nothing of topic ${topic} yet: there is nothing to keep.`,
    )
  await tx.execute(sql`
    insert into metrics.snapshot_ids (snapshot_id, n, event_ids)
    select ${id}, n, array_agg(event_id order by event_id)
    from (
      select event_id, ((row_number() over (order by event_id) - 1) / ${packedMax}::int)::int as n
      from metrics.event_handled where consumer = ${consumer}
    ) as placed group by n`)
  return id
}

export async function listSnapshots(
  db: Queryable,
  { consumer, topic }: SnapshotOf,
): Promise<SnapshotState[]> {
  return db.query<SnapshotState>(sql`
    select id, consumer, topic, taken_at as "takenAt", taken_by as "takenBy",
           (select sum(next_offset)::float8 from metrics.snapshot_offsets where snapshot_id = id) as records,
           (select coalesce(sum(cardinality(event_ids)), 0)::float8 from metrics.snapshot_ids where snapshot_id = id) as ids
    from metrics.snapshots where consumer = ${consumer} and topic = ${topic} order by id`)
}

/** @throws {Failure} NOT_FOUND where it is not there, or is another consumer's. */
export async function readSnapshot(
  db: Queryable,
  { id, consumer, topic }: SnapshotOf & { id: bigint },
): Promise<{ partition: number; nextOffset: bigint; lastEventId: string | null }[]> {
  const [snapshot] = await db.query(sql`
    select id from metrics.snapshots
    where id = ${id} and consumer = ${consumer} and topic = ${topic}
    for key share -- nobody deletes it under a rebuild that loads it`)
  if (!snapshot) throw new Failure('NOT_FOUND', `There is no snapshot ${String(id)} of ${consumer}: likewise snapshot list.`) // prettier-ignore
  return db.query(sql`
    select partition, next_offset as "nextOffset", last_event_id::text as "lastEventId"
    from metrics.snapshot_offsets where snapshot_id = ${id} order by partition`)
}

/** Deletes the snapshots of these numbers, or all but the newest ones. @returns the numbers of those that went. */
export async function deleteSnapshots(
  db: Queryable,
  { consumer, topic, ...which }: SnapshotOf & ({ ids: readonly bigint[] } | { keep: number }),
): Promise<bigint[]> {
  const chosen =
    'ids' in which
      ? sql`id = any (${which.ids}::bigint[])`
      : sql`id not in (
          select id from metrics.snapshots where consumer = ${consumer} and topic = ${topic}
          order by id desc limit ${which.keep}::int)`
  const deleted = await db.query<{ id: bigint }>(sql`
    delete from metrics.snapshots where consumer = ${consumer} and topic = ${topic} and ${chosen} returning id`)
  return deleted.map(({ id }) => id).sort((a, b) => Number(a - b))
}

/** The events that the snapshot's model counts, for the rebuild that begins with it. */
export async function loadSnapshotIds(tx: Tx, id: bigint): Promise<void> {
  await tx.execute(sql`
    insert into metrics.rebuild_ids (event_id, event_type, aggregate_id)
    select unnest(event_ids), 'of a snapshot', '' from metrics.snapshot_ids where snapshot_id = ${id} order by n`)
}
