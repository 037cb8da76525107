import { type Database, type Queryable, type Tx, sql } from '@likewise/database'
import type { LiveMark } from '../offsets.ts'
import { findUnsure, handOverIds } from './handed-over.ts'
import { countLateLetters } from './late-letters.ts'
import { type Rebuild, type ShadowModel, endRebuild, renewRebuild } from './rebuild.ts'
import { standStill, standsEqual, waitBriefly } from './stand-still.ts'

/** A rebuilt model that can be held against the live one, and take its place. */
export interface FinishedModel<D> extends ShadowModel {
  /** What differs, as of the transaction. */
  readonly compare: (db: Queryable) => Promise<D>
  /** Keeps all writers of the live model out until the transaction ends. */
  readonly lock: (tx: Tx) => Promise<void>
  /**
   * Compares the two ahead, in a transaction with one view of the database, while both go on.
   * @returns what makes the live model the rebuilt one, in a later transaction, and tells what was different.
   */
  readonly foresee: (tx: Tx) => Promise<(tx: Tx) => Promise<D>>
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
        await waitBriefly(tx)
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

interface Switch<D> extends Finish<D> {
  readonly actor: string
  /** Comes near to the live model again, which has gone on while the two were compared. From here on steps are `unsure`. */
  readonly follow: () => Promise<unknown>
}

/**
 * Switches: the live model becomes the rebuilt one, in one transaction that holds the marks of the consumer, and only where
 * both stand at the same offsets. They are compared before; under the locks only what has changed since is. Parked keys stay parked; event_handled then fits what is counted. Whoever reads sees the
 * one or the other; whoever writes waits, and goes on by itself.
 */
export async function switchRebuild<D>(
  db: Database,
  rebuild: Rebuild,
  { model, catchUp, follow, actor }: Switch<D>,
): Promise<D | 'not yet'> {
  await findUnsure(db, rebuild)
  const adopt = await db.tx((tx) => model.foresee(tx), {
    isolation: 'RepeatableRead',
    timeoutMs: compareTimeoutMs,
  })
  await follow()
  return standStill(db, rebuild, {
    catchUp,
    then: async (tx) => {
      await renewRebuild(tx, rebuild)
      await model.lock(tx)
      if (!(await standsEqual(tx, rebuild))) return 'not yet'
      await countLateLetters(tx, rebuild, model)
      const differences = await adopt(tx)
      await handOverIds(tx, rebuild)
      await tx.execute(sql`
        insert into metrics.inbox_audit (actor, action, consumer, detail)
        select ${actor}, 'rebuild', ${rebuild.consumer},
               'switched to the model rebuilt from ' || coalesce('snapshot ' || snapshot_id, 'the beginning of ' || topic)
                 || ', begun ' || begun_at || ${madeBy(rebuild)}
        from metrics.rebuilds`)
      await endRebuild(tx, rebuild, model)
      return differences
    },
  })
}

const madeBy = ({ owner }: Rebuild): string => `, by process ${owner}`

/**
 * Whether this process has switched: it cannot know where the answer to its COMMIT was lost, and the rebuild is gone then,
 * as one that somebody else has dropped. A transaction that is still about to commit has the rebuild's row, and is waited
 * for.
 */
export async function wasSwitched(db: Database, rebuild: Rebuild): Promise<boolean> {
  return db.tx(async (tx) => {
    const open = await tx.query(sql`
      select 1 as open from metrics.rebuilds where owner = ${rebuild.owner}::uuid for update`)
    if (open.length > 0) return false
    const made = await tx.query(sql`
      select 1 as made from metrics.inbox_audit
      where consumer = ${rebuild.consumer} and action = 'rebuild' and right(detail, ${madeBy(rebuild).length}::int) = ${madeBy(rebuild)}`)
    return made.length > 0
  })
}
