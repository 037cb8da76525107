import { type Queryable, sql } from '@likewise/database'

/** A shard's lease as the database sees it now. */
export interface Lease {
  readonly shard: number
  readonly owner: string | null
  readonly epoch: bigint
  /** Nobody holds it: given back, run out, or so far in the future that a clock must have been wrong. */
  readonly free: boolean
}

export interface LeaseTable {
  readonly leases: readonly Lease[]
  /** Relays seen alive, by owner, sorted; this one included. */
  readonly relays: readonly string[]
}

/**
 * Says "alive", renews what `owner` holds, and reads the whole table, in one round trip. Time is the database's:
 * a process with a wrong clock neither keeps nor loses a lease by it.
 *
 * Rows of several shards are always locked in shard order, here and below: two relays wait for each other instead of
 * deadlocking.
 */
export async function renewLeases(db: Queryable, owner: string, leaseMs: number): Promise<LeaseTable> {
  const rows = await db.query<Lease & { relays: string[] }>(sql`
    with seen as (
      insert into catalog.outbox_relays (owner, seen_until)
      values (${owner}::uuid, now() + ${leaseMs} * interval '1 ms')
      on conflict (owner) do update set seen_until = excluded.seen_until
    ), gone as (
      delete from catalog.outbox_relays where seen_until < now() - interval '1 hour' and owner <> ${owner}::uuid
    ), mine as (
      select shard from catalog.outbox_leases where owner = ${owner}::uuid order by shard for update
    ), renewed as (
      update catalog.outbox_leases as lease set lease_until = now() + ${leaseMs} * interval '1 ms'
      from mine where lease.shard = mine.shard and lease.owner = ${owner}::uuid
      returning lease.shard
    )
    select lease.shard::int as shard, lease.owner::text as owner, lease.epoch,
           renewed.shard is null and (lease.owner is null or lease.owner = ${owner}::uuid or lease.lease_until <= now()
             or lease.lease_until > now() + interval '1 hour') as free,
           array(select r.owner::text from catalog.outbox_relays as r
                 where r.seen_until > now() and r.owner <> ${owner}::uuid) as relays
    from catalog.outbox_leases as lease left join renewed using (shard)
    order by shard`)
  const relays = [...(rows[0]?.relays ?? []), owner].sort()
  return {
    leases: rows.map(({ shard, owner: by, epoch, free }) => ({ shard, owner: by, epoch, free })),
    relays,
  }
}

/** Takes free shards over with the next epoch. @returns those that were still as read. */
export async function takeLeases(
  db: Queryable,
  owner: string,
  leases: readonly Lease[],
  leaseMs: number,
): Promise<Lease[]> {
  if (leases.length === 0) return []
  const rows = await db.query<{ shard: number; epoch: bigint }>(sql`
    with wanted as (
      select l.shard, l.epoch from catalog.outbox_leases as l
      join unnest(${leases.map((l) => l.shard)}::smallint[], ${leases.map((l) => l.epoch)}::bigint[])
        as seen(shard, epoch) on seen.shard = l.shard and seen.epoch = l.epoch
      order by l.shard for update of l
    )
    update catalog.outbox_leases as lease
    set owner = ${owner}::uuid, epoch = lease.epoch + 1, lease_until = now() + ${leaseMs} * interval '1 ms'
    from wanted
    where lease.shard = wanted.shard and lease.epoch = wanted.epoch
      and (lease.owner is null or lease.lease_until <= now() or lease.lease_until > now() + interval '1 hour')
    returning lease.shard::int as shard, lease.epoch`)
  return rows.map((row) => ({ ...row, owner, free: false }))
}

/** Gives shards back, so that the next relay need not wait for them to run out. */
export async function releaseLeases(db: Queryable, owner: string, shards: readonly number[]): Promise<void> {
  if (shards.length === 0) return
  await db.execute(sql`
    with mine as (
      select shard from catalog.outbox_leases
      where owner = ${owner}::uuid and shard = any (${shards}::smallint[]) order by shard for update
    )
    update catalog.outbox_leases as lease set owner = null, lease_until = '-infinity'
    from mine where lease.shard = mine.shard and lease.owner = ${owner}::uuid`)
}

/** Leaves the table of relays: the others' fair share grows at once. */
export async function leaveRelays(db: Queryable, owner: string): Promise<void> {
  await db.execute(sql`delete from catalog.outbox_relays where owner = ${owner}::uuid`)
}
