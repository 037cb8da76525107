-- What Debezium reads: inserts of the outbox. One that is there is left as it is.
do $$ begin
  if not exists (select from pg_publication where pubname = 'likewise_debezium') then
    create publication likewise_debezium for table catalog.outbox_events
      with (publish = 'insert', publish_via_partition_root = true);
  end if;
end $$;
