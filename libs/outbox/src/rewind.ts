import { type Database, type Tx, sql } from '@likewise/database'
import { Failure } from '@likewise/service'
import { audit } from './audit.ts'
import { newestCursors } from './cursors.ts'
import { noteIdentity } from './identity.ts'

export interface RewindOptions {
  /** Events written from then on are published once more; all that the ring still holds where it is left out. */
  since?: Date
  /** Who asks; written to catalog.outbox_audit. */
  actor: string
  /** Only counts. */
  dryRun?: boolean
}

export interface Rewound {
  /** Events that will be published, those not yet published among them. */
  events: number
  /** The oldest of them. */
  oldest: Date | null
}

/**
 * Publishes again what the ring still holds since a time, in order: for a topic that was deleted and made anew, or lost
 * its end. Consumers drop what they have handled. Relays may run; each goes on from the new cursors.
 */
export async function republish(db: Database, options: RewindOptions): Promise<Rewound> {
  return rewind(db, options, async (tx, { events }) => {
    await audit(tx, { ...options, action: 'republish', detail: spanOf(events, options) })
  })
}

/**
 * Makes the cursors fit the cluster that the outbox is in now (see `checkIdentity`), with overlap rather than loss: what
 * is not certainly published is published. Rows that were written before the dump and after it cannot be told apart by
 * their transaction ids, so without `since` everything in the ring goes out once more.
 */
export async function recover(db: Database, options: RewindOptions): Promise<Rewound> {
  return rewind(db, options, async (tx, { events }) => {
    // Ids of the old cluster that mean nothing yet in this one: as they are, their rows would come by again whenever this
    // cluster gets as far. 3 is the first normal id; every snapshot sees it, and '1:1:' does not.
    await tx.execute(sql`
      update catalog.outbox_events set xid = '3' where not pg_visible_in_snapshot(xid, pg_current_snapshot())`)
    // Logical replication brings rows without the sequence that they came from. Parked events count, too: they outlive
    // their rows in the ring, and are known by seq (what is held back, redriven or discarded is looked up by it), so a
    // new event must never draw the number of one. With that a seq is one event's for ever, and no id need be compared.
    await tx.execute(sql`
      select setval(seqs.name, greatest((select max(seq) from catalog.outbox_events),
                                        (select max(seq) from catalog.outbox_parked), nextval(seqs.name)))
      from (select pg_get_serial_sequence('catalog.outbox_events', 'seq')::regclass as name) as seqs`)
    await noteIdentity(tx)
    await audit(tx, { ...options, action: 'recover', detail: spanOf(events, options) })
  })
}

async function rewind(
  db: Database,
  { since, dryRun }: RewindOptions,
  also: (tx: Tx, counted: Rewound) => Promise<void>,
): Promise<Rewound> {
  return db.tx(
    async (tx) => {
      const [mode] = await tx.query<{ mode: string }>(sql`select mode from catalog.outbox_meta for share`)
      if (mode?.mode === 'wal') {
        const mend = 'Run `likewise outbox wal disable` first, and enable it again afterwards.'
        throw new Failure('CONFLICT', `The outbox is read from the WAL, and its cursors do not lead. ${mend}`)
      }
      // The long look at the ring comes before the lock: relays go on meanwhile. What is committed after it lies beyond its
      // snapshot, which becomes the window's end.
      const shards = await readAgain(tx, since)
      const counted = sumOf(shards)
      if (dryRun) return counted
      // Whoever holds a shard holds it no longer: its next step fails, and it reads the cursor that is written here.
      await tx.execute(sql`
        with all_leases as (select shard from catalog.outbox_leases order by shard for update)
        update catalog.outbox_leases as lease set owner = null, epoch = epoch + 1
        from all_leases where all_leases.shard = lease.shard`)
      await setCursors(tx, shards)
      // A shard without such rows: its cursor must fit the cluster too.
      await tx.execute(sql`
        insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
        select shard, n + 1, pg_current_snapshot(), pg_current_snapshot(), last_seq, last_seq, epoch
        from ${newestCursors} as newest
        where pg_snapshot_xmax(to_snapshot) > pg_snapshot_xmax(pg_current_snapshot())
        order by shard`)
      await tx.execute(sql`update catalog.outbox_positions set reset_at = null where reset_at is not null`)
      // Last: what is published already was told by the transaction ids as they are.
      await also(tx, counted)
      return counted
    },
    { timeoutMs: 3_600_000 },
  )
}

const spanOf = (events: number, { since }: RewindOptions): string =>
  `${String(events)} events since ${since?.toISOString() ?? 'the beginning of the ring'}`

interface Again {
  shard: number
  snapshot: string
  firstSeq: bigint
  lastSeq: bigint
  rows: bigint
  oldest: Date
}

function sumOf(shards: readonly Again[]): Rewound {
  const oldest = Math.min(...shards.map((again) => again.oldest.getTime()))
  return {
    events: shards.reduce((sum, { rows }) => sum + Number(rows), 0),
    oldest: shards.length > 0 ? new Date(oldest) : null,
  }
}

/**
 * By shard: from which seq on to publish again. That of the first row since a time, or not yet published: by the window's
 * `from` also where it is finished, since in a restored cluster a row of a later seq may look as if it were inside.
 */
async function readAgain(tx: Tx, since: Date | undefined): Promise<Again[]> {
  return tx.query<Again>(sql`
    with first as (
      select newest.shard, min(e.seq) filter (
               where ${since ?? null}::timestamptz is null or e.created_at >= ${since ?? null}::timestamptz
                 or not (pg_visible_in_snapshot(e.xid, newest.from_snapshot)
                         or (pg_visible_in_snapshot(e.xid, newest.to_snapshot) and e.seq <= newest.after_seq))
             ) as first_seq
      from ${newestCursors} as newest join catalog.outbox_events as e on e.shard = newest.shard group by newest.shard
    )
    select first.shard::int as shard, pg_current_snapshot()::text as snapshot, first.first_seq as "firstSeq",
           max(e.seq) as "lastSeq", count(*) as rows, min(e.created_at) as oldest
    from first join catalog.outbox_events as e on e.shard = first.shard and e.seq >= first.first_seq
    group by first.shard, first.first_seq`)
}

/** A step that was under way when the leases were taken may still take a number: then the next one. */
async function setCursors(tx: Tx, shards: readonly Again[]): Promise<void> {
  for (let rest = shards; rest.length > 0;) {
    const set = await tx.query<{ shard: number }>(sql`
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, first_seq, fresh_seq, last_seq,
                                          after_seq, row_count, epoch)
      select again.shard, newest.n + 1, '1:1:', again.snapshot::pg_snapshot, again.first_seq, again.first_seq,
             again.last_seq, again.first_seq - 1, again.row_count, lease.epoch
      from unnest(${rest.map(({ shard }) => shard)}::smallint[], ${rest.map(({ snapshot }) => snapshot)}::text[],
                  ${rest.map(({ firstSeq }) => firstSeq)}::bigint[], ${rest.map(({ lastSeq }) => lastSeq)}::bigint[],
                  ${rest.map(({ rows }) => rows)}::bigint[])
        as again(shard, snapshot, first_seq, last_seq, row_count)
      join catalog.outbox_leases as lease on lease.shard = again.shard
      join ${newestCursors} as newest on newest.shard = again.shard
      order by again.shard -- as a relay's steps: whoever inserts the same rows waits, and does not deadlock
      on conflict do nothing
      returning shard::int as shard`)
    rest = rest.filter(({ shard }) => !set.some((done) => done.shard === shard))
  }
}
