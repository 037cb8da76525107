-- wal_lsn: how far the replication slot's reader has got, written before it is confirmed to the slot. A slot that
-- stands beyond it was moved or made anew by somebody, and what lies between would be passed over.
alter table catalog.outbox_meta add column wal_lsn pg_lsn;
