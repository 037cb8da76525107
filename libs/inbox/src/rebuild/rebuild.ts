import { randomUUID } from 'node:crypto'
import { type Database, type Queryable, type Tx, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { Failure } from '@likewise/service'
import { loadSnapshotIds, readSnapshot } from '../snapshot.ts'

/** The read model that is built beside the live one; see libs/metrics. Each verb stays within the transaction it is given. */
export interface ShadowModel {
  readonly apply: (tx: Tx, events: readonly LikeEvent[]) => Promise<void>
  readonly clear: (tx: Tx) => Promise<void>
  /** Fills an empty one with what a snapshot holds. */
  readonly load: (tx: Tx, snapshotId: bigint) => Promise<void>
}

/** A rebuild that this process works on, as long as its lease is its own. */
export interface Rebuild {
  readonly consumer: string
  readonly topic: string
  readonly owner: string
}

/** The rebuild there is, whoever works on it. */
export interface RebuildState {
  readonly consumer: string
  readonly topic: string
  readonly version: string
  /** null: it began with the topic's beginning. */
  readonly snapshotId: bigint | null
  readonly begunAt: Date
  /** Of when the model is that it began with. */
  readonly lettersSince: Date
  readonly ownerName: string
  readonly leaseUntil: Date
  readonly isHeld: boolean
  readonly counted: bigint
  readonly duplicates: bigint
  /** Records that cannot be read and have no dead letter. */
  readonly unreadable: bigint
}

export interface RebuildOffset {
  readonly partition: number
  readonly baseOffset: bigint
  readonly nextOffset: bigint
  readonly lastEventId: string | null
}

/** A process that says nothing for so long has been killed: another one may go on. */
const leaseMs = 10_000

export async function readRebuild(db: Queryable): Promise<RebuildState | null> {
  const [state] = await db.query<RebuildState>(sql`
    select consumer, topic, version, snapshot_id as "snapshotId", begun_at as "begunAt",
           letters_since as "lettersSince", owner_name as "ownerName",
           lease_until as "leaseUntil", lease_until > clock_timestamp() as "isHeld", counted, duplicates, unreadable
    from metrics.rebuilds`)
  return state ?? null
}

export async function readRebuildOffsets(db: Queryable): Promise<RebuildOffset[]> {
  return db.query<RebuildOffset>(sql`
    select partition, base_offset as "baseOffset", next_offset as "nextOffset", last_event_id::text as "lastEventId"
    from metrics.rebuild_offsets order by partition`)
}

export interface Beginning {
  readonly consumer: string
  readonly topic: string
  /** Whoever goes on with it should count as the one who began. */
  readonly version: string
  /** Who works on it, for those who wonder. */
  readonly ownerName: string
  /** undefined: the topic's beginning. */
  readonly snapshotId?: bigint
  readonly model: ShadowModel
}

/** @throws {Failure} ALREADY_RUNNING where there is one; NOT_FOUND where there is no such snapshot. */
export async function beginRebuild(db: Database, beginning: Beginning): Promise<Rebuild> {
  const { consumer, topic, version, ownerName, snapshotId, model } = beginning
  const owner = randomUUID()
  const seed = async (tx: Tx) => {
    const begun = await tx.execute(sql`
      insert into metrics.rebuilds (consumer, topic, version, snapshot_id, letters_since, open_letters, owner, owner_name,
        lease_until)
      values (${consumer}, ${topic}, ${version}, ${snapshotId ?? null}::bigint, now(), '{}', ${owner}::uuid, ${ownerName},
        clock_timestamp() + ${leaseMs}::float8 * interval '1 ms')
      on conflict do nothing`)
    if (begun === 0) throw new Failure('ALREADY_RUNNING', 'There is a rebuild already.')
    await clear(tx, model)
    if (snapshotId === undefined) return
    await readSnapshot(tx, { id: snapshotId, consumer, topic })
    await tx.execute(sql`
      update metrics.rebuilds set letters_since = s.taken_at, open_letters = s.open_letters
      from metrics.snapshots as s where s.id = ${snapshotId}`)
    await tx.execute(sql`
      insert into metrics.rebuild_offsets (partition, base_offset, next_offset, last_event_id)
      select partition, next_offset, next_offset, last_event_id from metrics.snapshot_offsets
      where snapshot_id = ${snapshotId}`)
    await loadSnapshotIds(tx, snapshotId)
    await model.load(tx, snapshotId)
    // It may have taken its time.
    await renewRebuild(tx, { consumer, topic, owner })
  }
  await db.tx(seed, { timeoutMs: seedTimeoutMs })
  return { consumer, topic, owner }
}

/** A snapshot of a hundred million ids takes some ten minutes. */
const seedTimeoutMs = 3_600_000

/** Goes on with the rebuild there is, if nobody works on it. @returns null where somebody does, or there is none. */
export async function takeRebuild(db: Queryable, ownerName: string): Promise<Rebuild | null> {
  const owner = randomUUID()
  const [taken] = await db.query<{ consumer: string; topic: string }>(sql`
    update metrics.rebuilds
    set owner = ${owner}::uuid, owner_name = ${ownerName},
        lease_until = clock_timestamp() + ${leaseMs}::float8 * interval '1 ms'
    where lease_until <= clock_timestamp()
    returning consumer, topic`)
  return taken ? { ...taken, owner } : null
}

/**
 * Renews the lease; first statement of every step, so that a process which slept past it changes nothing (I10).
 * @throws {Failure} CONFLICT where the rebuild is no longer this process's.
 */
export async function renewRebuild(db: Queryable, { owner }: Rebuild): Promise<void> {
  const renewed = await db.execute(sql`
    update metrics.rebuilds set lease_until = clock_timestamp() + ${leaseMs}::float8 * interval '1 ms'
    where owner = ${owner}::uuid`)
  if (renewed === 0)
    throw new Failure(
      'CONFLICT',
      'Another process has taken this rebuild over, or it was dropped: this one ends.',
    )
}

/** Lets it lie, for whoever goes on. */
export async function releaseRebuild(db: Queryable, { owner }: Rebuild): Promise<void> {
  await db.execute(
    sql`update metrics.rebuilds set lease_until = clock_timestamp() where owner = ${owner}::uuid`,
  )
}

/** Gives up the rebuild there is, if nobody works on it. The live model is not touched. */
export async function dropRebuild(db: Database, model: ShadowModel): Promise<boolean> {
  return db.tx(async (tx) => {
    const dropped = await tx.execute(sql`delete from metrics.rebuilds where lease_until <= clock_timestamp()`)
    if (dropped > 0) await clear(tx, model)
    return dropped > 0
  })
}

/** Ends it with the switch, in the same transaction. */
export async function endRebuild(tx: Tx, { owner }: Rebuild, model: ShadowModel): Promise<void> {
  await tx.execute(sql`delete from metrics.rebuilds where owner = ${owner}::uuid`)
  await clear(tx, model)
}

async function clear(tx: Tx, model: ShadowModel): Promise<void> {
  await tx.execute(sql`truncate metrics.rebuild_offsets, metrics.rebuild_ids`)
  await model.clear(tx)
}
