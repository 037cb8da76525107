import { type Database, type Queryable, sql } from '@likewise/database'
import { Failure } from '@likewise/service'
import { type KeyGroup, type KeyOutcome, type LetterAction, type RedriveAction, moveKey } from './move-key.ts'
import { type LetterSelection, matches } from './letter.ts'
import { lettersAtOnceMax, moveKeys } from './move-keys.ts'

/**
 * Applies dead letters, in order: each key in one transaction, from the first letter that the key waits for up to the first
 * that cannot be applied, or was not asked for. Letters that only waited behind another one go along. Where none is left,
 * the key flows again. Events of the key that arrive meanwhile wait for that transaction, or park and go with it. Keys
 * without anything to decide about share their transactions.
 *
 * @yields what became of each key, also where its transaction failed. Rejects with NOT_FOUND where no letter fits, with
 *   CONFLICT where the one event (or letter) asked for waits behind another, and with an outage.
 */
export async function* redrive(db: Database, action: RedriveAction): AsyncGenerator<KeyOutcome> {
  yield* move(db, 'redrive', action)
}

/**
 * Gives dead letters up, in the same way: their events count as handled, so that no second copy of them has an effect.
 * What waited behind nothing else is then applied, in order, as by a redrive.
 *
 * @yields what became of each key. Rejects with NOT_FOUND where no letter fits.
 */
export async function* discard(db: Database, action: LetterAction): AsyncGenerator<KeyOutcome> {
  yield* move(db, 'discard', action)
}

async function* move(
  db: Database,
  verb: 'redrive' | 'discard',
  action: RedriveAction,
): AsyncGenerator<KeyOutcome> {
  let [last, found]: [KeyGroup | undefined, boolean] = [undefined, false]
  for (;;) {
    const groups: KeyGroup[] = await readGroups(db, action, last)
    for (const several of chunksOf(groups)) {
      found = true
      const moved = await moveKeys(db, verb, several, action)
      for (const group of several) {
        yield (
          moved.get(group.name) ??
          (await orFailed(group, () => patiently(() => moveKey(db, verb, group, action))))
        )
      }
    }
    last = groups.at(-1)
    if (!last) break
  }
  if (!found) throw new Failure('NOT_FOUND', `No unresolved dead letter of ${action.consumer} ${wordsOf(action.selection)}.`) // prettier-ignore
}

/** Keys that may go together: those of a topic whose letters block them. What stands alone is looked at by itself. */
function chunksOf(groups: readonly KeyGroup[]): KeyGroup[][] {
  const chunks: [KeyGroup, ...KeyGroup[]][] = []
  let letters = 0
  for (const group of groups) {
    const chunk = chunks.at(-1)
    letters += group.queue
    if (chunk && mayGoTogether(chunk[0], group) && letters <= lettersAtOnceMax) chunk.push(group)
    else {
      chunks.push([group])
      letters = group.queue
    }
  }
  return chunks
}

const mayGoTogether = (one: KeyGroup, other: KeyGroup): boolean =>
  isPlain(one) && isPlain(other) && one.topic === other.topic

const isPlain = ({ name, queued, alone }: KeyGroup): boolean => name !== '' && queued && !alone

/** What the database says of one key is no reason to leave the others. */
async function orFailed(
  { topic, name, queued, letters }: KeyGroup,
  work: () => Promise<KeyOutcome>,
): Promise<KeyOutcome> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof Failure && isOfKey.has(error.code))) throw error
    const nothing = { redriven: 0, duplicates: 0, discarded: 0, stays: [] }
    const left = { left: letters, waiting: queued ? letters : 0 }
    return { topic, key: name === '' ? null : name, ...nothing, ...left, failed: error.message }
  }
}

const isOfKey: ReadonlySet<string> = new Set(['DATABASE_BUSY', 'DATABASE_REFUSED'])

const groupsAtOnceMax = 1_000

/** Keys with letters that fit, in the order of their names: what is resolved meanwhile moves no other one's place. */
function readGroups(
  db: Queryable,
  { consumer, selection }: LetterAction,
  last: KeyGroup | undefined,
): Promise<KeyGroup[]> {
  const after = last ? sql`(topic, name collate "C") > (${last.topic}, ${last.name})` : sql`true`
  return db.query<KeyGroup>(sql`
    select topic, name, bool_or(blocks_key) as queued, bool_or(not blocks_key) as alone,
           array_agg(distinct partition) as partitions, count(*)::int as letters, (
             select count(*) from metrics.dead_letters as q
             where q.consumer = ${consumer} and q.topic = letter.topic and q.record_key = letter.name
               and q.resolved_at is null and q.blocks_key
           )::int as queue
    from (
      select *, case when length(record_key) <= 16 then record_key else '' end as name from metrics.dead_letters
    ) as letter
    where consumer = ${consumer} and resolved_at is null and ${matches(selection)} and ${after}
    group by topic, name order by topic, name collate "C" limit ${groupsAtOnceMax}::int`)
}

const triesMax = 3

/** A deadlock with somebody else's statements is broken by PostgreSQL, at the cost of one of the two. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof Failure && error.code === 'DATABASE_BUSY' && attempt < triesMax)) throw error
    }
  }
}

function wordsOf({ id, eventId, key, reason, parkedFrom, parkedTo }: LetterSelection): string {
  const words = [
    id === undefined ? [] : `has the number ${String(id)}`,
    eventId === undefined ? [] : `is event ${eventId}`,
    key === undefined ? [] : `has key ${key}`,
    reason === undefined ? [] : `has reason ${reason}`,
    parkedFrom === undefined ? [] : `was parked from ${parkedFrom.toISOString()} on`,
    parkedTo === undefined ? [] : `was parked before ${parkedTo.toISOString()}`,
  ].flat()
  return words.length === 0 ? 'is there' : words.join(' and ')
}
