-- What each service may do, and no more (docs/security.md, "Roles in PostgreSQL"). The roles are groups that nobody logs in
-- as: a service's user is made a member of its own. Roles belong to the cluster, not to the database: another database of
-- Likewise has made them already, or makes them at this moment.
do $$
declare
  role_name text;
  missing text[];
begin
  select coalesce(array_agg(wanted), '{}') into missing
  from unnest(array['likewise_api', 'likewise_relay', 'likewise_consumer', 'likewise_reader', 'likewise_operator']) as wanted
  where not exists (select from pg_roles where rolname = wanted);
  if cardinality(missing) > 0
     and not exists (select from pg_roles where rolname = current_user and (rolcreaterole or rolsuper)) then
    raise exception '% may not make roles (CREATEROLE), and these are missing: %. Let a user who may run: create role %; and migrate again',
      current_user, array_to_string(missing, ', '), array_to_string(missing, '; create role ');
  end if;
  foreach role_name in array missing loop
    begin
      execute format('create role %I nologin', role_name);
    exception when duplicate_object or unique_violation then null; -- another database's migration was faster
    end;
  end loop;
end $$;

-- Functions are the one thing that PostgreSQL lets everybody use unless told otherwise. Not as default privileges: they would
-- hold for all that this user makes, also elsewhere. What others may do in public is theirs to say.
revoke execute on all functions in schema catalog, metrics from public;

grant usage on schema catalog to likewise_api, likewise_relay, likewise_operator;
grant usage on schema metrics to likewise_consumer, likewise_reader, likewise_operator;

-- No function runs with its owner's rights (security definer): where a service needs more than rows, it is of tables that
-- are its own. To lock rows PostgreSQL wants the right to update one column; it is given of one that decides nothing.
-- Rows of a ring are written and read through its parent; only whoever purges has rights in its partitions.

-- like-api: likes, their events, the keys of its requests. It sees no event again, and what the database adds to one (seq,
-- slot, xid) is not its to give. returning: id.
grant select, insert, delete, update (created_at) on catalog.likes to likewise_api;
grant insert (shard, id, aggregate_type, aggregate_id, event_type, topic, partition_key, payload, traceparent, headers,
              created_at), select (id)
  on catalog.outbox_events to likewise_api;
grant execute on function catalog.outbox_shard, catalog.outbox_enqueue to likewise_api;
grant select, insert on catalog.idempotency_keys to likewise_api;

-- outbox-relay: reads events and moves cursors; it neither writes nor changes an event. It says which cluster the outbox is
-- in and how far the WAL was read, but not whether it is.
grant select on catalog.outbox_events, catalog.outbox_meta to likewise_relay;
grant update (system_identifier, timeline, wal_lsn, updated_at) on catalog.outbox_meta to likewise_relay;
grant select, insert, delete on catalog.outbox_cursors to likewise_relay;
grant select, update (owner, epoch) on catalog.outbox_leases to likewise_relay;
grant select, insert, delete, update (seen_until) on catalog.outbox_relays to likewise_relay;
grant select, insert, delete, update (reason, attempts, detail, parked_at, mark, marked_at, resolved_at,
              resolution)
  on catalog.outbox_parked to likewise_relay;
grant select, insert, update (next_offset, reset_at, written_at) on catalog.outbox_positions to likewise_relay;
grant insert (actor, action, seq, event_id, partition_key, detail) on catalog.outbox_audit to likewise_relay;

-- metrics-consumer: handles events and keeps what it must not forget. It resolves no dead letter and never removes one.
grant select, insert on metrics.event_handled to likewise_consumer;
grant execute on function metrics.handled_slot to likewise_consumer;
grant select, insert, update on metrics.consumer_offsets to likewise_consumer;
grant select, insert, update on metrics.counted_through to likewise_consumer;
grant select, insert, update on metrics.product_metrics to likewise_consumer;
grant select, insert, update, delete on metrics.product_like_windows, metrics.product_like_hours to likewise_consumer;
grant select, insert, update on metrics.product_like_days to likewise_consumer;
grant select, insert, update (record_offset, copied_at) on metrics.dead_letters to likewise_consumer;

-- metrics-api: reads counts, and of dead letters when they were made, not what is in them.
grant select on metrics.product_metrics, metrics.product_like_windows, metrics.product_like_hours, metrics.product_like_days,
  metrics.counted_through to likewise_reader;
grant select (consumer, topic, record_key, record_time, event_id, blocks_key, parked_at, resolved_at)
  on metrics.dead_letters to likewise_reader;

-- People with the likewise command: they see all, move what is parked, and rebuild the read model. What changes the database
-- itself (migrate, outbox recover, outbox wal) is its owner's.
grant select on all tables in schema catalog, metrics to likewise_operator;
grant execute on function metrics.handled_slot to likewise_operator;
grant update (mark, marked_at) on catalog.outbox_parked to likewise_operator;
grant insert (actor, action, seq, event_id, partition_key, detail) on catalog.outbox_audit to likewise_operator;
grant insert on catalog.outbox_cursors to likewise_operator;
grant update (owner, epoch) on catalog.outbox_leases to likewise_operator;
grant update (reset_at) on catalog.outbox_positions to likewise_operator;
grant update (updated_at) on catalog.outbox_meta to likewise_operator;
grant insert, delete on metrics.event_handled to likewise_operator;
grant insert, update on metrics.consumer_offsets to likewise_operator;
grant insert, update on metrics.dead_letters to likewise_operator;
grant insert (actor, action, consumer, dead_letter_id, event_id, record_key, detail) on metrics.inbox_audit
  to likewise_operator;
grant insert, update, delete
  on metrics.product_metrics, metrics.product_like_windows, metrics.product_like_hours, metrics.product_like_days
  to likewise_operator;
grant insert, update, delete, truncate
  on metrics.rebuilds, metrics.rebuild_offsets, metrics.rebuild_ids, metrics.rebuild_counts, metrics.rebuild_minutes,
     metrics.rebuild_hours, metrics.rebuild_days
  to likewise_operator;
grant insert, update, delete
  on metrics.snapshots, metrics.snapshot_offsets, metrics.snapshot_ids, metrics.snapshot_counts, metrics.snapshot_buckets
  to likewise_operator;

-- The rings: each is purged by the service that fills or empties it.
do $$
begin
  for slot in 0..3 loop
    execute format('grant select, truncate on catalog.idempotency_keys_%s to likewise_api', slot);
  end loop;
  for slot in 0..9 loop
    execute format('grant select, truncate on catalog.outbox_events_%s to likewise_relay', slot);
  end loop;
  for slot in 0..33 loop
    execute format(
      'grant select, delete, truncate, update (handled_at) on metrics.event_handled_%s to likewise_consumer', slot);
  end loop;
end $$;
