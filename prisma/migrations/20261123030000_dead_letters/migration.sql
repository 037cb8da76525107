-- What is needed to look after dead letters, and to copy them.

-- The keys that are held back, and a key's letters in their order. Only of those that block a key: another record's key
-- may be longer than an index can hold.
drop index metrics.dead_letters_blocked_keys_idx;
create index dead_letters_blocked_keys_idx on metrics.dead_letters (consumer, record_key, partition, record_offset)
  where resolved_at is null and blocks_key;
-- A key's letters that hold nobody back. A key of events has 16 characters at most.
create index dead_letters_alone_idx on metrics.dead_letters (consumer, record_key, partition, record_offset)
  where resolved_at is null and not blocks_key and length(record_key) <= 16;
-- What waits for a decision. Resolved letters stay, and must not make looking at the others slower.
create index dead_letters_unresolved_idx on metrics.dead_letters (consumer, id) where resolved_at is null;
-- What waits for its copy on the dead-letter topic: asked for every second.
create index dead_letters_uncopied_idx on metrics.dead_letters (consumer, id) where copied_at is null;
create index dead_letters_event_id_idx on metrics.dead_letters (event_id);

-- Who did what to dead letters, for ever: a row for each letter that was redriven or discarded.
create table metrics.inbox_audit (
  id bigint generated always as identity,
  at timestamptz(6) not null default now(),
  actor text not null,
  action text not null,
  consumer text not null,
  dead_letter_id bigint,
  event_id uuid,
  record_key text,
  detail text,
  constraint inbox_audit_pkey primary key (id)
);
