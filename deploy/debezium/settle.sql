-- Moves the relay's cursors behind what Debezium has published, so that `likewise status` shows what really waits, the
-- rows may be purged, and a relay that takes over sends nothing twice. Run it every few minutes while Debezium runs:
--   psql "$CATALOG_DATABASE_URL" -f settle.sql
-- Whatever `seen` shows was committed before `reached` in the WAL; once the slot is confirmed up to there, Kafka has
-- acknowledged all of it. In this order: read first, then wait. A shard that a relay holds is left to it.
do $$
declare
  slot text := coalesce(current_setting('likewise.slot', true), 'likewise_debezium');
  seen pg_snapshot;
  reached pg_lsn;
begin
  select pg_current_snapshot(), pg_current_wal_insert_lsn() into seen, reached;
  while not exists (select from pg_replication_slots where slot_name = slot and confirmed_flush_lsn >= reached) loop
    if clock_timestamp() > statement_timestamp() + interval '2 minutes' then
      raise exception 'slot % has not reached %: does Debezium run?', slot, reached;
    end if;
    perform pg_sleep(0.2);
  end loop;

  with newest as (
    select distinct on (shard) shard, n, last_seq from catalog.outbox_cursors order by shard, n desc
  ), trimmed as (
    delete from catalog.outbox_cursors as old using newest
    where old.shard = newest.shard and old.n < newest.n - 50
  )
  insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
  select newest.shard, newest.n + 1, seen, seen, published.seq, published.seq, lease.epoch
  from newest
  join catalog.outbox_leases as lease on lease.shard = newest.shard and not exists (
    select from catalog.outbox_relays as relay where relay.owner = lease.owner and relay.seen_until > now()
  )
  cross join lateral (
    select greatest(newest.last_seq, (
      select seq from catalog.outbox_events as e
      where e.shard = newest.shard and pg_visible_in_snapshot(e.xid, seen) order by seq desc limit 1
    )) as seq
  ) as published
  on conflict do nothing;
end $$;
