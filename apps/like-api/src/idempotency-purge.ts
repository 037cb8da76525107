import { type Database, type Queryable, raw, sql } from '@likewise/database'
import { Failure, type Logger, repeat } from '@likewise/service'
import { ringDays, today } from './idempotency-keys.ts'

/** So long a purge may keep others waiting: whoever comes after a waiting TRUNCATE waits behind it. */
const lockWaitMs = 50
/** A slot is free to be emptied for a whole day. */
const everyMs = 3_600_000

/**
 * Empties the slot of the day before yesterday; tomorrow but one comes into it again. Any number of processes may do so
 * at the same time. If nobody does, nothing fails: rows just stay. @returns the slot, where it was emptied.
 */
export async function purgeKeys(db: Database): Promise<number | undefined> {
  const slot = await readOldSlot(db)
  if (slot === undefined) return undefined
  try {
    return await db.tx(async (tx) => {
      await tx.execute(sql`set local lock_timeout = ${raw(String(lockWaitMs))}`)
      await tx.execute(sql`lock table ${partitionOf(slot)} in access exclusive mode`)
      // Once more, now that nobody can write: another process was faster, or midnight is past.
      if ((await readOldSlot(tx)) !== slot) return undefined
      await tx.execute(sql`truncate ${partitionOf(slot)}`)
      return slot
    })
  } catch (error) {
    if (error instanceof Failure && error.code === 'DATABASE_BUSY') return undefined
    throw error
  }
}

/** The slot whose keys nobody asks for, if it holds any. */
async function readOldSlot(db: Queryable): Promise<number | undefined> {
  const [day] = await db.query<{ slot: number }>(sql`select (${today} - 2) % ${ringDays}::int as slot`)
  if (!day) return undefined
  const found = await db.query(sql`select 1 from ${partitionOf(day.slot)} limit 1`)
  return found.length > 0 ? day.slot : undefined
}

/** A constant of our own, so it may stand in the statement as it is. */
const partitionOf = (slot: number) => raw(`catalog.idempotency_keys_${String(slot)}`)

/** Purges the ring now and then. @returns stop, which waits for the purge under way. */
export function keepKeys(db: Database, log: Logger): () => Promise<void> {
  return repeat(
    async () => {
      const slot = await purgeKeys(db)
      if (slot !== undefined) log.info({ slot }, 'slot of the idempotency keys purged')
    },
    { pauseMs: () => everyMs * (0.9 + Math.random() / 5), log, failed: 'idempotency keys not purged' },
  )
}
