-- Which records a process had begun to handle when it ended: [started_offset, started_end), and how many processes
-- began there. Written where a process takes a partition over and where records are suspected of killing it, in a
-- transaction of its own; cleared by the same update that moves next_offset, so that it costs nothing on the way.
alter table metrics.consumer_offsets
  add column started_offset bigint,
  add column started_end bigint,
  add column starts integer not null default 0;
