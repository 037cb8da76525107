import { type Queryable, type Sql, sql } from '@likewise/database'

/** An event on the producer side, as far as it is still known there. */
export interface OutboxTrace {
  readonly id: string
  readonly seq: bigint
  readonly shard: number
  readonly eventType: string
  readonly topic: string
  readonly partitionKey: string
  readonly payload: string
  readonly traceparent: string | null
  readonly createdAt: Date
  readonly status: string
  readonly attempts: number
  readonly lastError: string | null
  /** The step of the cursor that has it behind it; null: not published, or long ago. */
  readonly window: bigint | null
  readonly settledAt: Date | null
}

export interface AuditEntry {
  readonly at: Date
  readonly actor: string
  readonly action: string
  readonly detail: string | null
}

export type TraceSelection = { readonly eventId: string } | { readonly key: string; readonly userId: number }

/** Events of a user about a product are looked for in all of the ring: there is no index by user. The newest come first. */
export async function readOutboxTraces(
  db: Queryable,
  selection: TraceSelection,
  limit: number,
): Promise<OutboxTrace[]> {
  const which: Sql =
    'eventId' in selection
      ? sql`s.id = ${selection.eventId}::uuid`
      : sql`s.partition_key = ${selection.key} and s.payload->>'userId' = ${String(selection.userId)}`
  return db.query<OutboxTrace>(sql`
    select s.id::text as id, s.seq, s.shard::int as shard, s.event_type as "eventType", s.topic,
           s.partition_key as "partitionKey", s.payload::text as payload, e.traceparent, s.created_at as "createdAt",
           s.status, s.retry_count as attempts, s.last_error as "lastError", step.n as "window",
           step.written_at as "settledAt"
    from catalog.outbox_status as s
    left join catalog.outbox_events as e on e.shard = s.shard and e.seq = s.seq
    left join lateral (
      -- only the newest steps are kept
      select c.n, c.written_at from catalog.outbox_cursors as c
      where c.shard = s.shard and c.after_seq >= s.seq and s.status = 'PUBLISHED'
        and pg_visible_in_snapshot(e.xid, c.to_snapshot) and not pg_visible_in_snapshot(e.xid, c.from_snapshot)
      order by c.n limit 1
    ) as step on true
    where ${which} order by s.seq desc limit ${limit}::int`)
}

/** Who did what to an event, on the producer side. */
export const readOutboxAudit = (db: Queryable, eventId: string): Promise<AuditEntry[]> =>
  db.query<AuditEntry>(sql`
    select at, actor, action, detail from catalog.outbox_audit where event_id = ${eventId}::uuid order by id`)
