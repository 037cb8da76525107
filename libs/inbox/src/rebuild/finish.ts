import { type Database, type Queryable, type Tx, sql } from '@likewise/database'
import type { LiveMark } from '../offsets.ts'
import { findUnsure, handOverIds } from './handed-over.ts'
import { countLateLetters } from './late-letters.ts'
import { type Rebuild, type ShadowModel, endRebuild, renewRebuild } from './rebuild.ts'
import { standStill, standsEqual } from './stand-still.ts'

/** A rebuilt model that can be held against the live one, and take its place. */
export interface FinishedModel<D> extends ShadowModel {
  /** What differs, as of the transaction. */
  readonly compare: (db: Queryable) => Promise<D>
  /** Keeps all writers of the live model out until the transaction ends. */
  readonly lock: (tx: Tx) => Promise<void>
  /** Makes the live model what the rebuilt one is. @returns what was different. */
  readonly adopt: (tx: Tx) => Promise<D>
}

export interface Finish<D> {
  readonly model: FinishedModel<D>
  /** Counts what lies before these marks, in transactions of its own; false where that cannot be done in time. */
  readonly catchUp: (marks: readonly LiveMark[]) => Promise<boolean>
}

/** A hundred million buckets take minutes. */
const compareTimeoutMs = 3_600_000

/**
 * What the rebuilt model says otherwise than the live one. The live one stands still for as long as it takes to bring the
 * rebuilt one to the same offsets and to open a transaction that sees both there; it goes on while they are compared.
 */
export async function compareRebuild<D>(
  db: Database,
  rebuild: Rebuild,
  { model, catchUp }: Finish<D>,
): Promise<D | 'not yet'> {
  const opened = await standStill(db, rebuild, {
    catchUp,
    then: async () => {
      await db.tx(async (tx) => {
        await renewRebuild(tx, rebuild)
        await countLateLetters(tx, rebuild, model)
      })
      return openComparison(db, rebuild, model)
    },
  })
  return opened === 'not yet' ? opened : opened.compared
}

/** @returns when the transaction has its snapshot; in an object, since a promise of a promise would be waited for. */
async function openComparison<D>(
  db: Database,
  rebuild: Rebuild,
  model: FinishedModel<D>,
): Promise<{ compared: Promise<D | 'not yet'> }> {
  let compared: Promise<D | 'not yet'> | undefined
  await new Promise<void>((resolve, reject) => {
    compared = db.tx(
      async (tx) => {
        const equal = await standsEqual(tx, rebuild)
        resolve()
        return equal ? model.compare(tx) : 'not yet'
      },
      { isolation: 'RepeatableRead', timeoutMs: compareTimeoutMs },
    )
    compared.catch(reject)
  })
  if (!compared) throw new Error('Opened without having begun.')
  return { compared }
}

/**
 * Switches: the live model becomes the rebuilt one, in one transaction that holds the marks of the consumer, and only where
 * both stand at the same offsets. Parked keys stay parked; event_handled then fits what is counted. Whoever reads sees the
 * one or the other; whoever writes waits, and goes on by itself.
 */
export async function switchRebuild<D>(
  db: Database,
  rebuild: Rebuild,
  { model, catchUp, actor }: Finish<D> & { actor: string },
): Promise<D | 'not yet'> {
  await findUnsure(db, rebuild)
  return standStill(db, rebuild, {
    catchUp,
    then: async (tx) => {
      await renewRebuild(tx, rebuild)
      await model.lock(tx)
      if (!(await standsEqual(tx, rebuild))) return 'not yet'
      await countLateLetters(tx, rebuild, model)
      const differences = await model.adopt(tx)
      await handOverIds(tx, rebuild)
      await tx.execute(sql`
        insert into metrics.inbox_audit (actor, action, consumer, detail)
        select ${actor}, 'rebuild', ${rebuild.consumer},
               'switched to the model rebuilt from ' || coalesce('snapshot ' || snapshot_id, 'the beginning of ' || topic)
                 || ', begun ' || begun_at
        from metrics.rebuilds`)
      await endRebuild(tx, rebuild, model)
      return differences
    },
  })
}
