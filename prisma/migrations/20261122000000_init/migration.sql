-- Likewise on PostgreSQL >= 18 (uuidv7(), identity columns on partitioned tables).
-- Two schemas that never reference each other: catalog belongs to the producer side, metrics to the consumer
-- side, so that they can live on two servers. Ids are positive integers up to 2^53-1 (exact in JSON).

create schema if not exists catalog;
create schema if not exists metrics;

create table catalog.likes (
  user_id bigint not null,
  product_id bigint not null,
  created_at timestamptz(6) not null default now(),
  constraint likes_pkey primary key (user_id, product_id),
  constraint likes_user_id_range check (user_id between 1 and 9007199254740991),
  constraint likes_product_id_range check (product_id between 1 and 9007199254740991)
);

-- The outbox. Rows are immutable: how far a shard is published stands in outbox_cursors, so there is no second
-- write per event, no dead tuple, and the same speed at any age of the table.
-- slot: a ring of 10 days. A slot that is older than the retention and behind every cursor is truncated; where
--   nobody purges, rows just stay. It is part of every unique key because it is the partition key.
-- xid:  the writing transaction (the top-level one). The relay reads windows between two snapshots with it.
-- shard: murmur2(partition_key) mod 12. It must never change for a stored row: a cursor per shard would pass it.
create table catalog.outbox_events (
  shard smallint not null,
  seq bigint generated always as identity,
  slot smallint not null default (floor(extract(epoch from now()) / 86400)::bigint % 10),
  xid xid8 not null default pg_current_xact_id(),
  id uuid not null default uuidv7(),
  aggregate_type text not null,
  aggregate_id text not null,
  event_type text not null,
  topic text not null,
  partition_key text not null,
  payload json not null,
  traceparent text,
  headers json,
  created_at timestamptz(6) not null default now(),
  constraint outbox_events_pkey primary key (shard, seq, slot),
  constraint outbox_events_shard_range check (shard between 0 and 11)
) partition by list (slot);

-- one event id is enqueued once (within a turn of the ring), and can be found again
create unique index outbox_events_id_slot_key on catalog.outbox_events (id, slot);
-- rows of one transaction, or of all transactions since a snapshot, without touching older rows
create index outbox_events_shard_xid_seq_idx on catalog.outbox_events (shard, xid, seq);

create table catalog.outbox_events_0 partition of catalog.outbox_events for values in (0);
create table catalog.outbox_events_1 partition of catalog.outbox_events for values in (1);
create table catalog.outbox_events_2 partition of catalog.outbox_events for values in (2);
create table catalog.outbox_events_3 partition of catalog.outbox_events for values in (3);
create table catalog.outbox_events_4 partition of catalog.outbox_events for values in (4);
create table catalog.outbox_events_5 partition of catalog.outbox_events for values in (5);
create table catalog.outbox_events_6 partition of catalog.outbox_events for values in (6);
create table catalog.outbox_events_7 partition of catalog.outbox_events for values in (7);
create table catalog.outbox_events_8 partition of catalog.outbox_events for values in (8);
create table catalog.outbox_events_9 partition of catalog.outbox_events for values in (9);

-- Kafka's murmur2 (Java's 32-bit words in bigint: a word times m stays below 2^63), for writers that enqueue
-- from SQL.
create function catalog.outbox_shard(partition_key text) returns smallint
language plpgsql immutable strict parallel safe as $$
declare
  data bytea := convert_to(partition_key, 'UTF8');
  len int := length(data);
  m constant bigint := 1540483477; -- 0x5bd1e995
  mask constant bigint := 4294967295;
  h bigint := (2538058380 # len) & mask; -- seed 0x9747b28c
  k bigint;
  i int := 0;
begin
  while i + 4 <= len loop
    k := get_byte(data, i) | (get_byte(data, i + 1) << 8) | (get_byte(data, i + 2) << 16)
         | (get_byte(data, i + 3)::bigint << 24);
    k := (k * m) & mask;
    k := k # (k >> 24);
    k := (k * m) & mask;
    h := (h * m) & mask;
    h := (h # k) & mask;
    i := i + 4;
  end loop;
  if len - i >= 3 then h := h # (get_byte(data, i + 2) << 16); end if;
  if len - i >= 2 then h := h # (get_byte(data, i + 1) << 8); end if;
  if len - i >= 1 then
    h := h # get_byte(data, i);
    h := (h * m) & mask;
  end if;
  h := h # (h >> 13);
  h := (h * m) & mask;
  h := h # (h >> 15);
  return ((h & 2147483647) % 12)::smallint;
end $$;

-- How far each shard is published: an append-only log, the newest row is the cursor, and inserting n + 1 is the
-- compare-and-set. A window is the rows that are invisible in from_snapshot and visible in to_snapshot, published
-- in seq order; after_seq is the last one Kafka acknowledged, and the window is done when it reaches last_seq.
-- fresh_seq: the lowest seq among rows of transactions that began after from_snapshot; what lies below it comes
--   from the few transactions that were open at from_snapshot and is read by xid. row_count: rows in the window.
create table catalog.outbox_cursors (
  shard smallint not null,
  n bigint not null,
  from_snapshot pg_snapshot not null,
  to_snapshot pg_snapshot not null,
  first_seq bigint,
  fresh_seq bigint,
  last_seq bigint not null,
  after_seq bigint not null,
  row_count bigint not null default 0,
  attempts integer not null default 0,
  last_error text,
  owner uuid,
  epoch bigint not null,
  written_at timestamptz(6) not null default now(),
  constraint outbox_cursors_pkey primary key (shard, n),
  constraint outbox_cursors_shard_range check (shard between 0 and 11)
);
-- '1:1:' sees nothing: the first window of each shard is the whole table.
insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
select shard, 0, '1:1:', '1:1:', 0, 0, 0 from generate_series(0, 11) as shard;

-- Who may move a shard's cursor. lease_until is the database's clock; epoch rises with every change of owner.
create table catalog.outbox_leases (
  shard smallint not null,
  owner uuid,
  epoch bigint not null default 0,
  lease_until timestamptz(6) not null default '-infinity',
  constraint outbox_leases_pkey primary key (shard),
  constraint outbox_leases_shard_range check (shard between 0 and 11)
);
insert into catalog.outbox_leases (shard) select shard from generate_series(0, 11) as shard;

-- Relays that are alive, with or without a shard: the fair share is counted over them.
create table catalog.outbox_relays (
  owner uuid not null,
  seen_until timestamptz(6) not null,
  constraint outbox_relays_pkey primary key (owner)
);

-- One row about the outbox as a whole.
create table catalog.outbox_meta (
  id smallint not null default 1,
  mode text not null default 'poll',
  system_identifier text,
  timeline integer,
  updated_at timestamptz(6) not null default now(),
  constraint outbox_meta_pkey primary key (id),
  constraint outbox_meta_one_row check (id = 1),
  constraint outbox_meta_mode check (mode in ('poll', 'wal'))
);
insert into catalog.outbox_meta default values;

-- Events the broker refuses for good, with their key's tail behind them: whole rows, since the ring is truncated
-- under them.
create table catalog.outbox_parked (
  seq bigint not null,
  id uuid not null,
  shard smallint not null,
  aggregate_type text not null,
  aggregate_id text not null,
  event_type text not null,
  topic text not null,
  partition_key text not null,
  payload json not null,
  traceparent text,
  headers json,
  created_at timestamptz(6) not null,
  reason text not null,
  attempts integer not null,
  parked_at timestamptz(6) not null default now(),
  redrive_marked_at timestamptz(6),
  constraint outbox_parked_pkey primary key (seq)
);
create index outbox_parked_shard_partition_key_seq_idx on catalog.outbox_parked (shard, partition_key, seq);

-- The columns people know from the pattern, computed from the tables above.
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
  case s.status when 'FAILED' then c.last_error when 'PARKED' then p.reason end as last_error
from catalog.outbox_events e
join cursors c on c.shard = e.shard
left join catalog.outbox_parked p on p.seq = e.seq
cross join lateral (
  select case
    when p.seq is not null then 'PARKED'
    when pg_visible_in_snapshot(e.xid, c.from_snapshot) then 'PUBLISHED'
    when not pg_visible_in_snapshot(e.xid, c.to_snapshot) then 'PENDING'
    when e.seq <= c.after_seq then 'PUBLISHED'
    when c.attempts > 0 then 'FAILED'
    else 'PENDING'
  end as status
) s;

-- ---------------------------------------------------------------------------------------------------------------
-- The consumer side.

-- Event ids that had their effect. slot: a ring of 34 days over the id's own UUIDv7 time, not over handled_at, so
-- that a duplicate of any age meets its first copy in the same partition.
create function metrics.handled_slot(event_id uuid) returns smallint
language sql stable strict parallel safe
return (floor(extract(epoch from uuid_extract_timestamp(event_id)) / 86400)::bigint % 34)::smallint;

create table metrics.event_handled (
  consumer text not null,
  event_id uuid not null,
  slot smallint not null,
  event_type text not null,
  aggregate_type text not null,
  aggregate_id text not null,
  handled_at timestamptz(6) not null default now(),
  constraint event_handled_pkey primary key (consumer, event_id, slot)
) partition by list (slot);

create table metrics.event_handled_0 partition of metrics.event_handled for values in (0);
create table metrics.event_handled_1 partition of metrics.event_handled for values in (1);
create table metrics.event_handled_2 partition of metrics.event_handled for values in (2);
create table metrics.event_handled_3 partition of metrics.event_handled for values in (3);
create table metrics.event_handled_4 partition of metrics.event_handled for values in (4);
create table metrics.event_handled_5 partition of metrics.event_handled for values in (5);
create table metrics.event_handled_6 partition of metrics.event_handled for values in (6);
create table metrics.event_handled_7 partition of metrics.event_handled for values in (7);
create table metrics.event_handled_8 partition of metrics.event_handled for values in (8);
create table metrics.event_handled_9 partition of metrics.event_handled for values in (9);
create table metrics.event_handled_10 partition of metrics.event_handled for values in (10);
create table metrics.event_handled_11 partition of metrics.event_handled for values in (11);
create table metrics.event_handled_12 partition of metrics.event_handled for values in (12);
create table metrics.event_handled_13 partition of metrics.event_handled for values in (13);
create table metrics.event_handled_14 partition of metrics.event_handled for values in (14);
create table metrics.event_handled_15 partition of metrics.event_handled for values in (15);
create table metrics.event_handled_16 partition of metrics.event_handled for values in (16);
create table metrics.event_handled_17 partition of metrics.event_handled for values in (17);
create table metrics.event_handled_18 partition of metrics.event_handled for values in (18);
create table metrics.event_handled_19 partition of metrics.event_handled for values in (19);
create table metrics.event_handled_20 partition of metrics.event_handled for values in (20);
create table metrics.event_handled_21 partition of metrics.event_handled for values in (21);
create table metrics.event_handled_22 partition of metrics.event_handled for values in (22);
create table metrics.event_handled_23 partition of metrics.event_handled for values in (23);
create table metrics.event_handled_24 partition of metrics.event_handled for values in (24);
create table metrics.event_handled_25 partition of metrics.event_handled for values in (25);
create table metrics.event_handled_26 partition of metrics.event_handled for values in (26);
create table metrics.event_handled_27 partition of metrics.event_handled for values in (27);
create table metrics.event_handled_28 partition of metrics.event_handled for values in (28);
create table metrics.event_handled_29 partition of metrics.event_handled for values in (29);
create table metrics.event_handled_30 partition of metrics.event_handled for values in (30);
create table metrics.event_handled_31 partition of metrics.event_handled for values in (31);
create table metrics.event_handled_32 partition of metrics.event_handled for values in (32);
create table metrics.event_handled_33 partition of metrics.event_handled for values in (33);

-- The next offset of each partition, moved in the same transaction as the effects. Its row lock is what fences a
-- zombie, a rebalance, a redrive and a switch. last_event_id is the record before next_offset: a topic that was
-- deleted and made again shows another one there.
create table metrics.consumer_offsets (
  consumer text not null,
  topic text not null,
  partition integer not null,
  next_offset bigint not null,
  last_event_id uuid,
  updated_at timestamptz(6) not null default now(),
  constraint consumer_offsets_pkey primary key (consumer, topic, partition)
);

-- like_count is never clamped: an unlike that arrives before its like takes it to -1 for a moment, and a clamp
-- would leave it one too high for ever. fillfactor leaves room for HOT updates.
create table metrics.product_metrics (
  product_id bigint not null,
  like_count bigint not null default 0,
  updated_at timestamptz(6) not null default now(),
  constraint product_metrics_pkey primary key (product_id)
) with (fillfactor = 70);

create table metrics.product_like_windows (
  product_id bigint not null,
  bucket_start timestamptz(6) not null,
  added bigint not null default 0,
  removed bigint not null default 0,
  constraint product_like_windows_pkey primary key (product_id, bucket_start)
) with (fillfactor = 70);
create index product_like_windows_bucket_start_idx on metrics.product_like_windows (bucket_start);

-- Parked events: whole records as they came, with the reason. A row without resolved_at whose reason blocks its
-- key (blocks_key) holds back the later events of that key, which park behind it. Resolved rows stay, so that a
-- replay parks nothing twice. copied_at is the outbox of the copy on the dead-letter topic.
create table metrics.dead_letters (
  id bigint generated always as identity,
  consumer text not null,
  topic text not null,
  partition integer not null,
  record_offset bigint not null,
  record_key text,
  record_value bytea,
  record_headers jsonb not null default '{}',
  record_time timestamptz(6),
  event_id uuid,
  event_type text,
  reason text not null,
  detail text not null,
  attempts integer not null default 1,
  blocks_key boolean not null,
  parked_at timestamptz(6) not null default now(),
  copied_at timestamptz(6),
  resolved_at timestamptz(6),
  resolution text,
  constraint dead_letters_pkey primary key (id),
  constraint dead_letters_resolution check (resolution in ('redriven', 'discarded'))
);
create unique index dead_letters_consumer_topic_partition_record_offset_key
  on metrics.dead_letters (consumer, topic, partition, record_offset);
-- the keys that are held back: asked for with every batch, so only unresolved rows are in it
create index dead_letters_blocked_keys_idx on metrics.dead_letters (consumer, record_key)
  where resolved_at is null and blocks_key;
