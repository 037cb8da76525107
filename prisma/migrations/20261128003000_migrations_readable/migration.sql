-- Which migrations the database has: for everybody, so that a service's own user can wait for them (`likewise migrate --wait`).
-- Their names are in the source; what went wrong in one (logs) stays with its owner. The table is Prisma's, and is not there
-- where the files are run by hand.
do $$
begin
  if to_regclass('_prisma_migrations') is not null then
    grant select (migration_name, finished_at, rolled_back_at) on _prisma_migrations to public;
  end if;
end $$;
