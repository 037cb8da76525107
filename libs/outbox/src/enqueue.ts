import { type Queryable, type Sql, sql } from '@likewise/database'
import { shardOf } from '@likewise/events'

/** An event as a service hands it over; what the outbox adds (id, seq, xid, slot, time) is the database's. */
export interface NewEvent {
  /** CloudEvents type, for example `catalog.like.added.v1`. */
  eventType: string
  aggregateType: string
  aggregateId: string
  topic: string
  /** Events of one key stay in order. */
  partitionKey: string
  /** JSON text. Its bytes are kept and sent as they are. */
  payload: string
  /** UUID v7; drawn by the database where it is left out. */
  id?: string
  traceparent?: string
  headers?: Readonly<Record<string, string>>
}

/**
 * Writes events to the outbox inside the caller's transaction: they are published if and only if it commits. Hand it
 * the transaction of the domain row: with anything else it runs, but the two can be lost apart.
 *
 * Write the domain row first and enqueue last. The domain row's lock then orders the transactions that touch one
 * key, and with them their outbox rows (promise I4).
 *
 * @returns the events' ids, in the order given.
 */
export async function enqueue(tx: Queryable, events: NewEvent | readonly NewEvent[]): Promise<string[]> {
  const list = Array.isArray(events) ? (events as readonly NewEvent[]) : [events as NewEvent]
  if (list.length === 0) return []
  // Arrays, not a row of parameters per event: 65,535 of those is the protocol's limit, and past it their count wraps.
  const inserted = await tx.query<{ id: string }>(
    sql`${enqueueRows(sql`
    select e.shard, coalesce(e.id, uuidv7()), e.aggregate_type, e.aggregate_id, e.event_type, e.topic,
           e.partition_key, e.payload::json, e.traceparent, e.headers::json, now()
    from unnest(${list.map((e) => shardOf(e.partitionKey))}::smallint[], ${list.map((e) => e.id ?? null)}::uuid[],
                ${list.map((e) => e.aggregateType)}::text[], ${list.map((e) => e.aggregateId)}::text[],
                ${list.map((e) => e.eventType)}::text[], ${list.map((e) => e.topic)}::text[],
                ${list.map((e) => e.partitionKey)}::text[], ${list.map((e) => e.payload)}::text[],
                ${list.map((e) => e.traceparent ?? null)}::text[],
                ${list.map((e) => (e.headers ? JSON.stringify(e.headers) : null))}::text[])
      with ordinality as e(shard, id, aggregate_type, aggregate_id, event_type, topic, partition_key, payload,
                           traceparent, headers, place)
    order by e.place`)} returning id`,
  )
  return inserted.map((row) => row.id)
}

/**
 * The outbox insert as a fragment, for a service that writes its domain row and its event in one statement:
 *
 *     with added as (insert into likes … on conflict do nothing returning …)
 *     ${enqueueRows(sql`select … from added`)}
 *
 * `rows` yields: shard (see `shardOf`), id, aggregate_type, aggregate_id, event_type, topic, partition_key,
 * payload, traceparent, headers, created_at.
 */
export function enqueueRows(rows: Sql): Sql {
  return sql`insert into catalog.outbox_events
    (shard, id, aggregate_type, aggregate_id, event_type, topic, partition_key, payload, traceparent, headers, created_at)
    ${rows}`
}
