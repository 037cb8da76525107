-- `likewise doctor` names who holds a transaction open: PostgreSQL tells how long sessions of other users have been in one
-- only to whoever reads all statistics. Where the owner may not give that, doctor says what to have run.
do $$
begin
  grant pg_read_all_stats to likewise_operator;
exception when insufficient_privilege then null;
end $$;
