-- Idempotency-Key of POST /api/likes, written in the transaction of its like: what it stands for, and what was answered.
-- A ring of four days by UTC day: today and yesterday are asked for, the day before may be emptied, tomorrow is empty. A
-- slot that was not emptied in time does no harm: the day is part of the key.
create table catalog.idempotency_keys (
  user_id bigint not null,
  idempotency_key text not null,
  day integer not null,
  slot smallint not null,
  product_id bigint not null,
  changed boolean not null,
  constraint idempotency_keys_pkey primary key (user_id, idempotency_key, day, slot),
  constraint idempotency_keys_slot check (slot = day % 4)
) partition by list (slot);

create table catalog.idempotency_keys_0 partition of catalog.idempotency_keys for values in (0);
create table catalog.idempotency_keys_1 partition of catalog.idempotency_keys for values in (1);
create table catalog.idempotency_keys_2 partition of catalog.idempotency_keys for values in (2);
create table catalog.idempotency_keys_3 partition of catalog.idempotency_keys for values in (3);
