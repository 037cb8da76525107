-- What the record before next_offset is known by where it is no event: its offset and a hash of it. Without it a topic that
-- was made again behind such a record was not noticed.
alter table metrics.consumer_offsets add column last_record text;
