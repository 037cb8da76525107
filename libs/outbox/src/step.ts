import { type Queryable, type Sql, empty, sql } from '@likewise/database'
import { isPastKeeping } from './cursors.ts'
import type { Parking } from './delivery.ts'
import { type Holder, type Window, windowColumns } from './window.ts'

/**
 * Moves the cursor behind a page that is done with: acknowledged by Kafka, or parked in this same statement.
 *
 * @returns the new cursor, or null when the compare-and-set failed: another owner, another epoch, or n + 1 taken.
 *   The caller then knows nothing and reads the cursor again.
 */
export async function settle(
  db: Queryable,
  holder: Holder,
  window: Window,
  { afterSeq, parked = [] }: { afterSeq: bigint; parked?: readonly Parking[] },
): Promise<Window | null> {
  return step(db, { holder, window, afterSeq, effects: parkingsOf(parked) })
}

/** Records a failed attempt on the cursor, where `outbox_status` shows it; the window stays where it is. */
export async function recordAttempt(
  db: Queryable,
  holder: Holder,
  window: Window,
  error: string,
): Promise<Window | null> {
  const failed = { attempts: window.attempts + 1, lastError: error.slice(0, 500) }
  return step(db, { holder, window, afterSeq: window.afterSeq, failed })
}

/** Moves what is parked: the cursor stays where it is, but its step keeps everybody else from doing the same. */
export async function resolveParked(
  db: Queryable,
  holder: Holder,
  window: Window,
  moved: { redriven: readonly string[]; refused: readonly Parking[]; discardMarked?: boolean },
): Promise<Window | null> {
  return step(db, { holder, window, afterSeq: window.afterSeq, effects: movesOf(moved) })
}

interface Step {
  holder: Holder
  window: Window
  afterSeq: bigint
  failed?: { attempts: number; lastError: string }
  /** More statements of the same one, which take their condition from `stepped`: no step, no effect. */
  effects?: Sql
}

async function step(db: Queryable, { holder, window, afterSeq, ...more }: Step): Promise<Window | null> {
  const { owner, epoch } = holder
  const [stepped] = await stepAll(db, owner, [{ ...window, epoch, afterSeq }], more)
  return stepped ?? null
}

/**
 * Moves the cursors of several shards behind all that is left of their windows.
 *
 * @returns the shards whose compare-and-set succeeded, see `settle`.
 */
export async function settleWhole(
  db: Queryable,
  owner: string,
  windows: readonly (Window & { epoch: bigint })[],
): Promise<number[]> {
  const steps = windows.map(({ shard, n, epoch, lastSeq }) => ({ shard, n, epoch, afterSeq: lastSeq }))
  const stepped = await stepAll(db, owner, steps)
  return stepped.map(({ shard }) => shard)
}

async function stepAll(
  db: Queryable,
  owner: string,
  steps: readonly { shard: number; n: bigint; epoch: bigint; afterSeq: bigint }[],
  { failed, effects }: Pick<Step, 'failed' | 'effects'> = {},
): Promise<Window[]> {
  const wanted = sql`unnest(
      ${steps.map(({ shard }) => shard)}::smallint[], ${steps.map(({ n }) => n)}::bigint[],
      ${steps.map(({ epoch }) => epoch)}::bigint[], ${steps.map(({ afterSeq }) => afterSeq)}::bigint[]
    ) as wanted(shard, n, epoch, after_seq)`
  return db.query<Window>(sql`
    with trimmed as (
      delete from catalog.outbox_cursors as old using ${wanted}
      where old.shard = wanted.shard and ${isPastKeeping(sql`old.n`, sql`wanted.n`)}
    ), stepped as (
      insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, first_seq, fresh_seq, last_seq,
                                          after_seq, row_count, attempts, last_error, owner, epoch)
      select c.shard, c.n + 1, c.from_snapshot, c.to_snapshot, c.first_seq, c.fresh_seq, c.last_seq,
             wanted.after_seq, c.row_count, ${failed?.attempts ?? 0}::int, ${failed?.lastError ?? null}, lease.owner,
             lease.epoch
      from ${wanted}
      join catalog.outbox_cursors as c on c.shard = wanted.shard and c.n = wanted.n
      join catalog.outbox_leases as lease
        on lease.shard = c.shard and lease.owner = ${owner}::uuid and lease.epoch = wanted.epoch
      order by c.shard
      on conflict do nothing
      returning *
    )${effects ?? empty}
    select ${windowColumns} from stepped`)
}

/**
 * Parks events that came from the WAL, whose shards' cursors stand elsewhere; the leases alone say who may.
 *
 * @returns how many of them are parked now. Fewer: a lease is not held, or a row cannot be seen yet, since the WAL shows a
 *   commit before its rows are visible. Calling again is safe.
 */
export async function parkFromWal(
  db: Queryable,
  owner: string,
  leases: readonly { shard: number; epoch: bigint }[],
  parkings: readonly Parking[],
): Promise<number> {
  const rows = await db.query(sql`
    with stepped as (
      select lease.shard from catalog.outbox_leases as lease
      join unnest(${leases.map((l) => l.shard)}::smallint[], ${leases.map((l) => l.epoch)}::bigint[])
        as held(shard, epoch) on held.shard = lease.shard and held.epoch = lease.epoch
      where lease.owner = ${owner}::uuid
    )${parkingsOf(parkings)}
    select 1 from stepped join catalog.outbox_events as e on e.shard = stepped.shard
    where e.seq = any (${parkings.map(({ seq }) => BigInt(seq))}::bigint[])`)
  return rows.length
}

const parkingRows = (parkings: readonly Parking[]): Sql => sql`unnest(
    ${parkings.map(({ seq }) => BigInt(seq))}::bigint[], ${parkings.map(({ reason }) => reason)}::text[],
    ${parkings.map(({ detail }) => detail.slice(0, 2_000))}::text[], ${parkings.map(({ attempts }) => attempts)}::int[]
  ) as parking(seq, reason, detail, attempts)`

/**
 * An event that was redriven once, and comes by again in a republish, is parked again; one that is parked already, stays.
 */
function parkingsOf(parkings: readonly Parking[]): Sql {
  if (parkings.length === 0) return empty
  return sql`, parked as (
      insert into catalog.outbox_parked as p (seq, id, shard, aggregate_type, aggregate_id, event_type, topic,
        partition_key, payload, traceparent, headers, created_at, reason, detail, attempts)
      select e.seq, e.id, e.shard, e.aggregate_type, e.aggregate_id, e.event_type, e.topic, e.partition_key, e.payload,
             e.traceparent, e.headers, e.created_at, parking.reason, parking.detail, parking.attempts
      from stepped cross join ${parkingRows(parkings)}
      join catalog.outbox_events as e on e.shard = stepped.shard and e.seq = parking.seq
      on conflict (seq) do update
        set reason = excluded.reason, detail = excluded.detail, attempts = p.attempts + excluded.attempts,
            parked_at = now(), mark = null, marked_at = null, resolved_at = null, resolution = null
        where p.resolution = 'redriven'
    )`
}

function movesOf(moved: {
  redriven: readonly string[]
  refused: readonly Parking[]
  discardMarked?: boolean
}): Sql {
  return sql`, redriven as (
      update catalog.outbox_parked as p set resolved_at = now(), resolution = 'redriven'
      from stepped where p.seq = any (${moved.redriven.map(BigInt)}::bigint[]) and p.shard = stepped.shard
    ), refused as (
      update catalog.outbox_parked as p
      set reason = parking.reason, detail = parking.detail, attempts = p.attempts + parking.attempts,
          parked_at = now(), mark = case when p.mark = 'discard' then p.mark end,
          marked_at = case when p.mark = 'discard' then p.marked_at end -- asked for while it was on its way
      from stepped cross join ${parkingRows(moved.refused)} where p.seq = parking.seq and p.shard = stepped.shard
    ), discarded as (
      update catalog.outbox_parked as p set resolved_at = now(), resolution = 'discarded'
      from stepped
      where ${moved.discardMarked ?? false} and p.shard = stepped.shard and p.resolved_at is null and p.mark = 'discard'
    )`
}
