-- What a rebuild of the read model needs, and snapshots of it (docs/rebuild.md).

-- When the partition's log was last found to be another one than before: what had been counted of the old one is in no
-- topic, and a rebuild from the beginning would lose it.
alter table metrics.consumer_offsets add column replaced_at timestamptz(6);

-- Events that somebody gave up: a rebuild asks for them with each of its steps.
create index dead_letters_discarded_idx on metrics.dead_letters (event_id) where resolution = 'discarded';

-- The rebuild there is, one at most, and the process that works on it (a lease by the database's clock).
-- letters_since: letters that were redriven from then on may lie before what was read. open_letters: those that waited
-- when its snapshot was taken, wherever they lie.
create table metrics.rebuilds (
  id smallint not null default 1,
  consumer text not null,
  topic text not null,
  version text not null,
  snapshot_id bigint,
  letters_since timestamptz(6) not null,
  open_letters bigint[] not null,
  begun_at timestamptz(6) not null default now(),
  owner uuid not null,
  owner_name text not null,
  lease_until timestamptz(6) not null,
  counted bigint not null default 0,
  duplicates bigint not null default 0,
  unreadable bigint not null default 0,
  constraint rebuilds_pkey primary key (id),
  constraint rebuilds_one check (id = 1)
);

-- Where the rebuild began in each partition, and how far it is: moved in the same transaction as what was counted.
create table metrics.rebuild_offsets (
  partition integer not null,
  base_offset bigint not null,
  next_offset bigint not null,
  last_event_id uuid,
  constraint rebuild_offsets_pkey primary key (partition)
);

-- Ids of the events that the rebuilt model counts: its own, from the very first one on. unsure: whether event_handled has
-- it as well; those are handed over with the switch.
create table metrics.rebuild_ids (
  event_id uuid not null,
  event_type text not null,
  aggregate_id text not null,
  unsure boolean not null default false,
  constraint rebuild_ids_pkey primary key (event_id)
);
create index rebuild_ids_unsure_idx on metrics.rebuild_ids (event_id) where unsure;

-- The rebuilt model, as product_metrics and the three tables of windows.
create table metrics.rebuild_counts (
  product_id bigint not null,
  like_count bigint not null default 0,
  constraint rebuild_counts_pkey primary key (product_id)
) with (fillfactor = 70);

create table metrics.rebuild_minutes (
  product_id bigint not null,
  bucket_start timestamptz(6) not null,
  added bigint not null default 0,
  removed bigint not null default 0,
  constraint rebuild_minutes_pkey primary key (product_id, bucket_start)
) with (fillfactor = 70);

create table metrics.rebuild_hours (
  product_id bigint not null,
  bucket_start timestamptz(6) not null,
  added bigint not null default 0,
  removed bigint not null default 0,
  constraint rebuild_hours_pkey primary key (product_id, bucket_start)
) with (fillfactor = 70);

create table metrics.rebuild_days (
  product_id bigint not null,
  bucket_start timestamptz(6) not null,
  added bigint not null default 0,
  removed bigint not null default 0,
  constraint rebuild_days_pkey primary key (product_id, bucket_start)
) with (fillfactor = 70);

-- Snapshots of the read model: packed, thousands of values a row, so that one is small and is deleted by few rows.
create table metrics.snapshots (
  id bigint generated always as identity,
  consumer text not null,
  topic text not null,
  taken_at timestamptz(6) not null default now(),
  taken_by text not null,
  open_letters bigint[] not null,
  constraint snapshots_pkey primary key (id)
);

create table metrics.snapshot_offsets (
  snapshot_id bigint not null,
  partition integer not null,
  next_offset bigint not null,
  last_event_id uuid,
  constraint snapshot_offsets_pkey primary key (snapshot_id, partition),
  constraint snapshot_offsets_snapshot_id_fkey foreign key (snapshot_id) references metrics.snapshots (id)
    on update cascade on delete cascade
);

-- Ids that event_handled held then: what is published again behind the snapshot is known by them.
create table metrics.snapshot_ids (
  snapshot_id bigint not null,
  n integer not null,
  event_ids uuid[] not null,
  constraint snapshot_ids_pkey primary key (snapshot_id, n),
  constraint snapshot_ids_snapshot_id_fkey foreign key (snapshot_id) references metrics.snapshots (id)
    on update cascade on delete cascade
);

create table metrics.snapshot_counts (
  snapshot_id bigint not null,
  n integer not null,
  product_ids bigint[] not null,
  like_counts bigint[] not null,
  constraint snapshot_counts_pkey primary key (snapshot_id, n),
  constraint snapshot_counts_snapshot_id_fkey foreign key (snapshot_id) references metrics.snapshots (id)
    on update cascade on delete cascade
);

create table metrics.snapshot_buckets (
  snapshot_id bigint not null,
  resolution text not null,
  n integer not null,
  product_ids bigint[] not null,
  bucket_starts timestamptz(6)[] not null,
  added bigint[] not null,
  removed bigint[] not null,
  constraint snapshot_buckets_pkey primary key (snapshot_id, resolution, n),
  constraint snapshot_buckets_resolution check (resolution in ('minute', 'hour', 'day')),
  constraint snapshot_buckets_snapshot_id_fkey foreign key (snapshot_id) references metrics.snapshots (id)
    on update cascade on delete cascade
);
