-- How far the counts have got, by the clock of this database: every record that lay in the partition at that time is
-- behind the consumer's mark. Null: not known yet. A row for each partition of the topic. Told a second apart, so a
-- table of its own: rows of consumer_offsets are locked by every batch. Half of a page stays free for the next versions.
create table metrics.counted_through (
  consumer text not null,
  topic text not null,
  partition integer not null,
  at timestamptz(6),
  constraint counted_through_pkey primary key (consumer, topic, partition)
) with (fillfactor = 50);
