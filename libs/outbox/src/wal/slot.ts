import { type Queryable, parseLsn, sql } from '@likewise/database'
import { Failure, pause } from '@likewise/service'

/** The replication slot's name, unless told otherwise (tests share one server), and the publication's. */
export const walName = 'likewise_outbox'

export type OutboxMode = 'poll' | 'wal'

/** How the outbox is read: by polling, or from the WAL. Relays ask with every renewal of their leases. */
export async function readMode(db: Queryable): Promise<OutboxMode> {
  const [row] = await db.query<{ mode: OutboxMode }>(sql`select mode from catalog.outbox_meta`)
  if (!row) throw new Failure('DATABASE_NOT_MIGRATED', 'catalog.outbox_meta has lost its row.')
  return row.mode
}

export interface WalHealth {
  readonly mode: OutboxMode
  /** null when there is no slot of that name, whoever's. */
  readonly slot: SlotHealth | null
  /** Exists, and is what `enable` makes. */
  readonly publicationOk: boolean
}

export interface SlotHealth {
  readonly database: string
  readonly plugin: string
  /** pgoutput, logical, of this database. */
  readonly ours: boolean
  /** Somebody reads it now. */
  readonly active: boolean
  readonly activePid: number | null
  /** null in a slot that was invalidated early. */
  readonly confirmedFlushLsn: bigint | null
  /** WAL kept for the slot, in bytes: from its restart_lsn to where PostgreSQL writes now. */
  readonly keptBytes: number | null
  /** WAL between what is confirmed and where PostgreSQL writes now, in bytes. */
  readonly lagBytes: number | null
  /** reserved, extended, unreserved or lost. */
  readonly walStatus: string | null
  /** Bytes that can still be written before the slot may be lost; null without max_slot_wal_keep_size. */
  readonly safeWalSize: number | null
  readonly invalidationReason: string | null
  /** Confirmed beyond what the relays have noted: moved or made anew by hand. */
  readonly moved: boolean
}

type Row = Omit<SlotHealth, 'confirmedFlushLsn'> &
  Pick<WalHealth, 'mode' | 'publicationOk'> & { found: boolean; confirmedFlushLsn: string | null }

/** Slot and publication as they stand. One statement; the slot's part is cheap, nothing is counted. */
export async function readWalHealth(db: Queryable, slot = walName): Promise<WalHealth> {
  const [row] = await db.query<Row>(sql`
    select meta.mode, slot.slot_name is not null as found, slot.database::text as database, slot.plugin::text as plugin,
           coalesce(slot.slot_type = 'logical' and slot.plugin = 'pgoutput' and slot.database = current_database()
                    and not slot.temporary, false) as ours,
           coalesce(slot.active, false) as active, slot.active_pid as "activePid",
           slot.confirmed_flush_lsn::text as "confirmedFlushLsn",
           (pg_current_wal_lsn() - slot.restart_lsn)::float8 as "keptBytes",
           (pg_current_wal_lsn() - slot.confirmed_flush_lsn)::float8 as "lagBytes",
           slot.wal_status as "walStatus", slot.safe_wal_size::float8 as "safeWalSize",
           slot.invalidation_reason as "invalidationReason",
           coalesce(meta.mode = 'wal' and slot.confirmed_flush_lsn > meta.wal_lsn, false) as moved,
           ${publicationOk} as "publicationOk"
    from catalog.outbox_meta as meta
    left join pg_replication_slots as slot on slot.slot_name = ${slot}`)
  if (!row) throw new Failure('DATABASE_NOT_MIGRATED', 'catalog.outbox_meta has lost its row.')
  const { mode, publicationOk: ok, found, confirmedFlushLsn, ...rest } = row
  const confirmed = confirmedFlushLsn === null ? null : parseLsn(confirmedFlushLsn)
  return { mode, publicationOk: ok, slot: found ? { ...rest, confirmedFlushLsn: confirmed } : null }
}

/** PostgreSQL 18 passes over changes in silence while a publication is missing, so it must be looked at. */
export const publicationOk = sql`exists (
  select from pg_publication as publication
  join pg_publication_rel as member on member.prpubid = publication.oid
  where publication.pubname = ${walName} and publication.pubinsert and publication.pubviaroot
    and member.prrelid = 'catalog.outbox_events'::regclass and member.prqual is null and member.prattrs is null)`

/** Why the slot must not be read, in a sentence with the command that mends it; null when all is well. Pure. */
export function slotFault({ mode, slot, publicationOk }: WalHealth, name = walName): string | null {
  if (mode !== 'wal') return null
  if (!slot) return lost(name, 'it does not exist')
  if (!slot.ours) return `${foreign(name, slot)} ${mend}`
  if (slot.walStatus === 'lost' || slot.invalidationReason !== null) {
    return lost(name, `PostgreSQL gave it up (${slot.invalidationReason ?? 'wal_status lost'})`)
  }
  if (slot.moved) return lost(name, 'it was moved forward or made anew by hand')
  if (!publicationOk) return lost(name, `its publication ${walName} is missing or was changed`)
  return null
}

export function foreign(name: string, { database, plugin }: SlotHealth): string {
  return (
    `The replication slot ${name} is somebody else's (database ${database}, plugin ${plugin}): ` +
    'it is left alone, and must be dropped by its owner before the outbox can be read from the WAL.'
  )
}

const mend =
  'No event is lost: run `likewise outbox wal disable`, and the relays poll on from where the cursors stand; then ' +
  '`likewise outbox wal enable` to read the WAL again.'

const lost = (name: string, why: string): string =>
  `The outbox is read from the WAL, but the replication slot ${name} cannot be used: ${why}. ${mend}`

/**
 * Rejects with a Failure (SLOT_UNUSABLE) when the slot must not be read. Asked twice before it is said: the statement
 * sees tables and slots at different moments, and a hand-over or a confirmation may lie between them.
 */
export async function requireSlot(db: Queryable, slot = walName): Promise<WalHealth> {
  const health = await readWalHealth(db, slot)
  if (slotFault(health, slot) === null) return health
  await pause(200)
  const again = await readWalHealth(db, slot)
  const fault = slotFault(again, slot)
  if (fault !== null) throw new Failure('SLOT_UNUSABLE', fault)
  return again
}
