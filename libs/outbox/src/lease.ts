import { type Queryable, type Sql, sql } from '@likewise/database'

/** A shard's lease as the database sees it now. It holds as long as its owner is alive. */
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

/** Seen lately, and not so far in the future that a clock must have been wrong. */
export const isAlive = (relay: Sql): Sql =>
  sql`(${relay}.seen_until > now() and ${relay}.seen_until <= now() + interval '1 hour')`

/**
 * Says "alive", which renews what `owner` holds, and reads the whole table, in one round trip. Time is the database's: a
 * process with a wrong clock neither keeps nor loses a lease by it.
 *
 * Only the relay's own row is written. Those of the leases are read by every poll and step, and while an old snapshot keeps
 * vacuum away, each write of a row is one more version to look through: 0.1 ms a look after ten minutes, 12 looks a poll.
 * They are locked, so that what is told as held is as whoever took it over meanwhile has left it.
 *
 * Whoever takes over locks the owner's row before those of its leases (`takeLeases`), and rows of several shards are always
 * locked in shard order: relays wait for each other instead of deadlocking.
 */
export async function renewLeases(db: Queryable, owner: string, leaseMs: number): Promise<LeaseTable> {
  const rows = await db.query<Lease & { relays: string[] }>(sql`
    with seen as (
      insert into catalog.outbox_relays (owner, seen_until)
      values (${owner}::uuid, now() + ${leaseMs} * interval '1 ms')
      on conflict (owner) do update set seen_until = excluded.seen_until
      returning owner
    ), mine as (
      select shard from catalog.outbox_leases
      where owner = ${owner}::uuid and exists (select from seen) -- the own row first
      order by shard for update
    ), others as (
      select r.owner from catalog.outbox_relays as r where ${isAlive(sql`r`)} and r.owner <> ${owner}::uuid
    )
    select lease.shard::int as shard, lease.owner::text as owner, lease.epoch,
           mine.shard is null and (lease.owner is null or lease.owner not in (select owner from others)) as free,
           array(select owner::text from others) as relays
    from catalog.outbox_leases as lease left join mine using (shard)
    order by shard`)
  const relays = [...(rows[0]?.relays ?? []), owner].sort()
  return {
    leases: rows.map(({ shard, owner: by, epoch, free }) => ({ shard, owner: by, epoch, free })),
    relays,
  }
}

/**
 * Takes free shards over with the next epoch. @returns those that were still as read.
 *
 * An owner that is not alive is buried first: its row is made to say so, whether it has one or not. A renewal of that owner
 * writes the same row, so one of the two waits for the other: it has renewed and keeps its leases, or it finds
 * them taken.
 */
export async function takeLeases(db: Queryable, owner: string, leases: readonly Lease[]): Promise<Lease[]> {
  if (leases.length === 0) return []
  const rows = await db.query<{ shard: number; epoch: bigint }>(sql`
    with seen as (
      select * from unnest(${leases.map((l) => l.shard)}::smallint[], ${leases.map((l) => l.epoch)}::bigint[])
        as seen(shard, epoch)
    ), buried as (
      insert into catalog.outbox_relays as r (owner, seen_until)
      select distinct l.owner, '-infinity'::timestamptz from catalog.outbox_leases as l join seen using (shard, epoch)
      where l.owner <> ${owner}::uuid order by l.owner
      on conflict (owner) do update set seen_until = excluded.seen_until where not ${isAlive(sql`r`)}
      returning owner
    ), wanted as (
      select l.shard, l.epoch from catalog.outbox_leases as l join seen using (shard, epoch)
      where (select count(*) from buried) >= 0 -- those rows first
      order by l.shard for update of l
    )
    update catalog.outbox_leases as lease set owner = ${owner}::uuid, epoch = lease.epoch + 1
    from wanted
    where lease.shard = wanted.shard and lease.epoch = wanted.epoch
      and (lease.owner is null or lease.owner = ${owner}::uuid or lease.owner in (select owner from buried))
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
    update catalog.outbox_leases as lease set owner = null
    from mine where lease.shard = mine.shard and lease.owner = ${owner}::uuid`)
}

/** Removes the rows of relays that have been gone for an hour. */
export async function forgetRelays(db: Queryable): Promise<void> {
  await db.execute(sql`delete from catalog.outbox_relays where seen_until < now() - interval '1 hour'`)
}

/** Leaves the table of relays: the others' fair share grows at once. */
export async function leaveRelays(db: Queryable, owner: string): Promise<void> {
  await db.execute(sql`delete from catalog.outbox_relays where owner = ${owner}::uuid`)
}
