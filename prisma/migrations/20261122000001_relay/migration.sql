-- What the relay needs to park, redrive, discard, purge and recover.

-- reason: 'refused' (the broker does not take it) or 'behind' (it waits behind a refused event of its key).
-- mark: what somebody has asked for. The relay that holds the shard carries it out and resolves the row; nobody else
--   changes what is parked, so the moves of a key are as ordered as those of the cursor.
-- Resolved rows stay until the ring has turned, so that a republish does not send again what was discarded.
alter table catalog.outbox_parked
  drop column redrive_marked_at,
  add column detail text not null,
  add column mark text,
  add column marked_at timestamptz(6),
  add column resolved_at timestamptz(6),
  add column resolution text,
  add constraint outbox_parked_reason check (reason in ('refused', 'behind')),
  add constraint outbox_parked_mark check (mark in ('redrive', 'discard')),
  add constraint outbox_parked_resolution check (resolution in ('redriven', 'discarded'));
-- the keys that are held back
drop index catalog.outbox_parked_shard_partition_key_seq_idx;
create index outbox_parked_shard_partition_key_seq_idx on catalog.outbox_parked (shard, partition_key, seq)
  where resolved_at is null;
-- asked for every second
create index outbox_parked_shard_mark_idx on catalog.outbox_parked (shard, mark)
  where resolved_at is null and mark is not null;
-- what a republish must leave out
create index outbox_parked_shard_resolution_idx on catalog.outbox_parked (shard, resolution)
  where resolution = 'discarded';

-- Who did what to the outbox, for ever: redrive, discard, purge, recover, republish, a change of the source.
create table catalog.outbox_audit (
  id bigint generated always as identity,
  at timestamptz(6) not null default now(),
  actor text not null,
  action text not null,
  seq bigint,
  event_id uuid,
  partition_key text,
  detail text,
  constraint outbox_audit_pkey primary key (id)
);

-- The next offset of each partition that was published to. A broker that answers with a lower one has lost records, or
-- the topic was deleted and made again.
create table catalog.outbox_positions (
  topic text not null,
  partition integer not null,
  next_offset bigint not null,
  reset_at timestamptz(6),
  written_at timestamptz(6) not null default now(),
  constraint outbox_positions_pkey primary key (topic, partition)
);

-- Enqueues from SQL, in the caller's transaction. Write the domain row first: its lock puts the events of one key in
-- order. Returns the event's id.
create function catalog.outbox_enqueue(
  event_type text,
  aggregate_type text,
  aggregate_id text,
  topic text,
  partition_key text,
  payload json,
  headers json default null,
  traceparent text default null,
  event_id uuid default null
) returns uuid
language sql volatile as $$
  insert into catalog.outbox_events
    (shard, id, aggregate_type, aggregate_id, event_type, topic, partition_key, payload, traceparent, headers)
  values (catalog.outbox_shard(outbox_enqueue.partition_key), coalesce(outbox_enqueue.event_id, uuidv7()),
          outbox_enqueue.aggregate_type, outbox_enqueue.aggregate_id, outbox_enqueue.event_type,
          outbox_enqueue.topic, outbox_enqueue.partition_key, outbox_enqueue.payload, outbox_enqueue.traceparent,
          outbox_enqueue.headers)
  returning id
$$;

drop view catalog.outbox_status;
create view catalog.outbox_status as
with cursors as (
  select distinct on (shard) shard, from_snapshot, to_snapshot, after_seq, attempts, last_error
  from catalog.outbox_cursors
  order by shard, n desc
)
select
  e.seq, e.id, e.shard, e.event_type, e.aggregate_type, e.aggregate_id, e.topic, e.partition_key, e.payload,
  e.created_at, s.status,
  case s.status when 'FAILED' then c.attempts when 'PARKED' then p.attempts else 0 end as retry_count,
  case s.status when 'FAILED' then c.last_error when 'PARKED' then p.detail end as last_error
from catalog.outbox_events e
join cursors c on c.shard = e.shard
left join catalog.outbox_parked p on p.seq = e.seq
cross join lateral (
  select case
    when p.seq is not null and p.resolved_at is null then 'PARKED'
    when p.resolution = 'discarded' then 'DISCARDED'
    when pg_visible_in_snapshot(e.xid, c.from_snapshot) then 'PUBLISHED'
    when not pg_visible_in_snapshot(e.xid, c.to_snapshot) then 'PENDING'
    when e.seq <= c.after_seq then 'PUBLISHED'
    when c.attempts > 0 then 'FAILED'
    else 'PENDING'
  end as status
) s
union all
-- parked, and the ring has been truncated under it
select
  p.seq, p.id, p.shard, p.event_type, p.aggregate_type, p.aggregate_id, p.topic, p.partition_key, p.payload,
  p.created_at, 'PARKED', p.attempts, p.detail
from catalog.outbox_parked p
where p.resolved_at is null
  and not exists (select from catalog.outbox_events e where e.shard = p.shard and e.seq = p.seq);
