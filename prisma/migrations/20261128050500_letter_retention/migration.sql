-- Dead letters that were redriven or discarded leave the table after their retention. The consumer removes them, and writes
-- that down; what people did (inbox_audit) stays, and no service may take it away.
create index dead_letters_resolved_idx on metrics.dead_letters (consumer, resolved_at) where resolved_at is not null;
grant delete on metrics.dead_letters to likewise_consumer;
grant insert (actor, action, consumer, detail) on metrics.inbox_audit to likewise_consumer;
-- Letters that a snapshot or a rebuild may ask for stay.
grant select (taken_at) on metrics.snapshots to likewise_consumer;
grant select (letters_since) on metrics.rebuilds to likewise_consumer;
