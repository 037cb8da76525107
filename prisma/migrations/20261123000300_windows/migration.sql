-- product_like_windows holds minutes. Those that are old enough move on to hours, and hours to days (libs/metrics,
-- roll-up.ts). A bucket lies in one of the three tables or, of what came late, in parts in several: readers add up.
-- All begin at UTC edges.
create table metrics.product_like_hours (
  product_id bigint not null,
  bucket_start timestamptz(6) not null,
  added bigint not null default 0,
  removed bigint not null default 0,
  constraint product_like_hours_pkey primary key (product_id, bucket_start)
) with (fillfactor = 70);
-- what the next roll-up takes
create index product_like_hours_bucket_start_idx on metrics.product_like_hours (bucket_start);

create table metrics.product_like_days (
  product_id bigint not null,
  bucket_start timestamptz(6) not null,
  added bigint not null default 0,
  removed bigint not null default 0,
  constraint product_like_days_pkey primary key (product_id, bucket_start)
) with (fillfactor = 70);
