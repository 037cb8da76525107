-- A lease holds as long as its relay is seen (outbox_relays.seen_until, the database's clock): a renewal then writes one
-- row, and not one for each shard. While an old snapshot keeps vacuum away each write leaves a dead row behind, and the
-- leases are read by every poll and every step of a cursor.
alter table catalog.outbox_leases drop column lease_until;
