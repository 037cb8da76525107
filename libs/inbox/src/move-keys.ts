import { type Database, type Sql, type Tx, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { Failure } from '@likewise/service'
import { consumedOf } from './consumed.ts'
import { inTxOrDry } from './dry-run.ts'
import { freshOf, remember } from './handle-once.ts'
import {
  type KeyGroup,
  type KeyOutcome,
  type RedriveAction,
  giveUp,
  keyTimeoutMs,
  lockMarks,
  readLetters,
} from './move-key.ts'
import { type QueuedLetter, movableOf } from './queue.ts'
import { resolve } from './resolve.ts'

/** Letters of one transaction, about: batches of their partitions wait for it. */
export const lettersAtOnceMax = 300

/** A key all of whose letters go, none of which says anything that somebody should decide about. */
interface PlainKey {
  readonly group: KeyGroup
  readonly given: readonly QueuedLetter[]
  readonly redriven: readonly QueuedLetter[]
  /** Theirs, one for each. */
  readonly events: readonly LikeEvent[]
}

/** What is to be looked at key by key: it takes the whole transaction back. */
class NotPlain extends Error {}

/**
 * Redrives or discards the letters of several keys in one transaction, with as many statements as one key takes. Each key
 * is moved whole and in its order, as `moveKey` would; a key that would keep a letter, or is large, is left out, and where
 * anything else comes in between all of them are.
 *
 * @returns what became of those that were moved, by their names; the others are `moveKey`'s.
 */
export async function moveKeys(
  db: Database,
  verb: 'redrive' | 'discard',
  groups: readonly KeyGroup[],
  action: RedriveAction,
): Promise<Map<string, KeyOutcome>> {
  const [first] = groups
  if (!first || groups.length === 1) return new Map()
  const about = { topic: first.topic, names: groups.map(({ name }) => name) }
  const partitions = [...new Set(groups.flatMap((group) => group.partitions))]
  const whole = async (tx: Tx): Promise<Map<string, KeyOutcome>> => {
    const nowMs = await lockMarks(tx, action.consumer, { ...about, partitions })
    const letters = await readLetters({ tx, action }, queuesOf(about))
    const counts = await countLetters(tx, action, about)
    const plain = groups.flatMap((group) => {
      const own = letters.filter(({ key }) => key === group.name)
      return own.length === counts.get(group.name)
        ? plainOf(verb, { group, letters: own, action, nowMs })
        : []
    })
    if (plain.length === 0) return new Map()
    const outcomes = await moveAll(tx, plain, action)
    // A batch of another partition may have parked behind one of them meanwhile.
    const left = await countLetters(tx, action, { ...about, names: plain.map(({ group }) => group.name) })
    if (left.size > 0) throw new NotPlain()
    return outcomes
  }
  try {
    return await inTxOrDry(db, whole, { dryRun: action.dryRun, timeoutMs: keyTimeoutMs })
  } catch (error) {
    if (error instanceof NotPlain || isOfTheKeys(error)) return new Map()
    throw error
  }
}

/** An effect that rejects an event, a deadlock, a refusal: `moveKey` finds the one. */
const isOfTheKeys = (error: unknown): boolean =>
  !(error instanceof Failure) || error.code === 'DATABASE_REFUSED' || error.code === 'DATABASE_BUSY'

interface Keys {
  readonly topic: string
  readonly names: readonly string[]
}

const queuesOf = ({ topic, names }: Keys): Sql =>
  sql`topic = ${topic} and record_key = any (${names}::text[]) and blocks_key`

async function countLetters(tx: Tx, { consumer }: RedriveAction, keys: Keys): Promise<Map<string, number>> {
  const rows = await tx.query<{ name: string; count: number }>(sql`
    select record_key as name, count(*)::int as count from metrics.dead_letters
    where consumer = ${consumer} and resolved_at is null and ${queuesOf(keys)} group by record_key`)
  return new Map(rows.map(({ name, count }) => [name, count]))
}

function plainOf(
  verb: 'redrive' | 'discard',
  {
    group,
    letters,
    action,
    nowMs,
  }: { group: KeyGroup; letters: readonly QueuedLetter[]; action: RedriveAction; nowMs: number },
): PlainKey[] {
  const reading = { horizon: action.horizon, nowMs, force: action.force ?? false }
  const given = verb === 'discard' ? letters.filter(({ selected }) => selected) : []
  const rest = verb === 'discard' ? letters.filter(({ selected }) => !selected) : letters
  const { movable, stop } = movableOf(rest, reading)
  if (stop) return []
  return [
    {
      group,
      given,
      redriven: movable.map(({ letter }) => letter),
      events: movable.map(({ event }) => event),
    },
  ]
}

/** First what is given up, then what had waited behind it: each for all keys at once, and of each key in its order. */
async function moveAll(
  tx: Tx,
  plain: readonly PlainKey[],
  { consumer, actor, work, force = false }: RedriveAction,
): Promise<Map<string, KeyOutcome>> {
  const given = plain.flatMap((key) => key.given)
  if (given.length > 0) await giveUp(tx, given, { consumer, actor })
  const events = plain.flatMap((key) => key.events)
  const fresh = new Set(freshOf(events, await remember(tx, consumer, events.map(consumedOf))))
  if (fresh.size > 0) await work(tx, [...fresh])
  const redriven = plain.flatMap((key) => key.redriven)
  await resolve(tx, redriven, { as: 'redriven', actor, note: force ? 'forced; ' : '' })
  return new Map(
    plain.map(({ group: { topic, name }, events: own, given: { length: discarded } }) => {
      const applied = own.filter((event) => fresh.has(event)).length
      const moved = { redriven: applied, duplicates: own.length - applied, discarded }
      return [name, { topic, key: name, ...moved, waiting: 0, left: 0, stays: [] }]
    }),
  )
}
