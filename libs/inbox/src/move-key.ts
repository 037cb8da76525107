import { type Database, type Sql, type Tx, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { Failure } from '@likewise/service'
import { applyInOrder } from './apply-in-order.ts'
import { consumedOf } from './consumed.ts'
import { inTxOrDry } from './dry-run.ts'
import { remember } from './handle-once.ts'
import type { Horizon } from './judgement.ts'
import {
  type LetterRow,
  type LetterSelection,
  letterColumns,
  letterOf,
  matches,
  pageOf,
  recordColumns,
} from './letter.ts'
import { type Movable, type QueuedLetter, type Stay, forcedEventOf, movableOf, readLetter } from './queue.ts'
import { keepFailure, resolve } from './resolve.ts'

export interface LetterAction {
  readonly consumer: string
  readonly selection: LetterSelection
  /** Who asks; written to metrics.inbox_audit with the time. */
  readonly actor: string
  /** That of the consumer: what grew too old while it waited is not applied without `force`. */
  readonly horizon: Horizon
  /** The consumer's own effect; see `handleBatch`. */
  readonly work: (tx: Tx, fresh: readonly LikeEvent[]) => Promise<void>
  /** Does all of it, and rolls it back. */
  readonly dryRun?: boolean
}

export interface RedriveAction extends LetterAction {
  /** Applies also what is too old, from the future, or without a usable id. */
  readonly force?: boolean
}

/** A key with letters that were asked for. */
export interface KeyGroup {
  readonly topic: string
  /** '' for records without a key, or with one that no event has. */
  readonly name: string
  /** Among those asked for: some that block their key, some that stand alone. */
  readonly queued: boolean
  readonly alone: boolean
  readonly partitions: readonly number[]
  /** Those asked for. */
  readonly letters: number
  /** Those that go along where they are applied: all that the key waits for. */
  readonly queue: number
}

/** What became of the letters of one key. */
export interface KeyOutcome {
  readonly topic: string
  /** null: records without a key, or with one that no event has. */
  readonly key: string | null
  /** Had their effect now. */
  readonly redriven: number
  /** Had it before, by another copy. */
  readonly duplicates: number
  readonly discarded: number
  /** Letters that the key still waits for; 0: it flows. */
  readonly waiting: number
  /** Letters that were asked for and stay. */
  readonly left: number
  /** The one that the key waits for, and some of those that stand alone and stay. */
  readonly stays: readonly Stay[]
  /** Why its transaction was rolled back: nothing was done to it. */
  readonly failed?: string | undefined
}

/** So long one key's transaction may take; a hundred thousand letters take some ten seconds. */
export const keyTimeoutMs = 600_000

const staysShownMax = 10

interface Move {
  readonly tx: Tx
  readonly group: KeyGroup
  readonly action: RedriveAction
  readonly nowMs: number
  readonly tally: { redriven: number; duplicates: number; discarded: number }
}

/** Redrives or discards the letters of a key in one transaction. Large ones are read in pages. */
export async function moveKey(
  db: Database,
  verb: 'redrive' | 'discard',
  group: KeyGroup,
  action: RedriveAction,
): Promise<KeyOutcome> {
  const whole = async (tx: Tx): Promise<KeyOutcome> => {
    const nowMs = await lockMarks(tx, action.consumer, { ...group, names: [group.name] })
    const move: Move = { tx, group, action, nowMs, tally: { redriven: 0, duplicates: 0, discarded: 0 } }
    if (verb === 'discard') await discardLetters(move)
    const stop = group.queued ? await moveQueue(move, verb) : null
    const alone = verb === 'redrive' && group.alone ? await moveAlone(move) : []
    return outcomeOf(move, [...(stop ? [stop] : []), ...alone])
  }
  return inTxOrDry(db, whole, { dryRun: action.dryRun, timeoutMs: keyTimeoutMs })
}

/**
 * Locks the marks of the partitions in which the keys have letters: no batch of them runs now, no zombie, no switch of the
 * model. In partition order, as everybody does who locks more than one. A batch of the key in yet another partition (the
 * topic got more of them) is kept out by the letters' own locks: see `readBlockedKeys`.
 *
 * @returns the database's clock.
 */
export async function lockMarks(
  tx: Tx,
  consumer: string,
  { topic, names, partitions }: Pick<KeyGroup, 'topic' | 'partitions'> & { names: readonly string[] },
): Promise<number> {
  await tx.query(sql`
    select 1 as locked from metrics.consumer_offsets
    where consumer = ${consumer} and topic = ${topic} and (
      partition = any (${partitions}::int[]) or partition in (
        select partition from metrics.dead_letters
        where consumer = ${consumer} and topic = ${topic} and record_key = any (${names}::text[]) and resolved_at is null
          and blocks_key))
    order by partition for update`)
  const [clock] = await tx.query<{ nowMs: number }>(
    sql`select (extract(epoch from clock_timestamp()) * 1000)::float8 as "nowMs"`,
  )
  return clock?.nowMs ?? 0
}

/** Applies what the key waits for, in order, and reads on until nothing is left or something must stay. */
async function moveQueue(move: Move, verb: 'redrive' | 'discard'): Promise<Stay | null> {
  const { action, nowMs, group, tx } = move
  const reading = { horizon: action.horizon, nowMs, force: action.force ?? false }
  let askedFor = 0
  for (let last: QueuedLetter | undefined; ;) {
    const letters = await readLetters(move, sql`${queueOf(group)} and ${behind(last)}`)
    if (letters.length === 0) {
      // Once more from the head: a batch of a partition that lies before these may have parked behind them meanwhile.
      if (!last) return null
      last = undefined
      continue
    }
    last = letters.at(-1)
    const wanted = letters.map((one) => (verb === 'redrive' ? one : { ...one, selected: false }))
    const { movable, stop } = movableOf(wanted, reading)
    const { done, error } = await apply(move, movable)
    askedFor += movable.slice(0, done).filter(({ letter }) => letter.selected).length
    const failed = movable[done]?.letter
    if (error && failed) return { letter: failed, why: `it fails: ${await keepFailure(tx, failed, error)}` }
    if (!stop) continue
    const { id, eventId } = action.selection
    const one = id !== undefined || eventId !== undefined
    if (verb === 'redrive' && one && askedFor === 0 && !stop.letter.selected) throw waitsBehind(stop, group)
    return stop
  }
}

/** Applies letters that hold nobody back, each for itself, and passes over those that must stay. */
async function moveAlone(move: Move): Promise<Stay[]> {
  const { action, nowMs, group, tx } = move
  const reading = { horizon: action.horizon, nowMs, force: action.force ?? false }
  const stays: Stay[] = []
  const stay = (one: Stay) => {
    if (stays.length < staysShownMax) stays.push(one)
  }
  for (let last: QueuedLetter | undefined; ;) {
    const letters = await readLetters(
      move,
      sql`${aloneOf(group)} and ${behind(last)} and ${matches(action.selection)}`,
    )
    if (letters.length === 0) return stays
    last = letters.at(-1)
    let movable: Movable[] = []
    for (const letter of letters) {
      const read = readLetter(letter, reading)
      if ('why' in read) stay({ letter, why: read.why })
      else movable.push({ letter, event: read.event })
    }
    while (movable.length > 0) {
      const { done, error } = await apply(move, movable)
      const failed = movable[done]?.letter
      if (error && failed) stay({ letter: failed, why: `it fails: ${await keepFailure(tx, failed, error)}` })
      movable = movable.slice(done + 1)
    }
  }
}

async function apply(
  { tx, action, tally }: Move,
  movable: readonly Movable[],
): Promise<{ done: number; error?: Error | undefined }> {
  const { done, fresh, error } = await applyInOrder(tx, movable, action)
  const note = action.force ? 'forced; ' : ''
  const letters = movable.slice(0, done).map(({ letter }) => letter)
  await resolve(tx, letters, { as: 'redriven', actor: action.actor, note })
  tally.redriven += fresh
  tally.duplicates += done - fresh
  return { done, error }
}

/** Ends what was asked for without an effect. */
async function discardLetters({ tx, group, action, tally }: Move): Promise<void> {
  const parts = [...(group.queued ? [queueOf(group)] : []), ...(group.alone ? [aloneOf(group)] : [])]
  for (const part of parts) {
    for (;;) {
      const letters = await readLetters({ tx, action }, sql`${part} and ${matches(action.selection)}`)
      if (letters.length === 0) break
      await giveUp(tx, letters, action)
      tally.discarded += letters.length
    }
  }
}

/**
 * The ids of events that can be read count as handled: the relay may have sent a second copy, and a replay comes by the
 * first one again. What cannot be read has no event yet; a mended copy may come.
 */
export async function giveUp(
  tx: Tx,
  letters: readonly QueuedLetter[],
  { consumer, actor }: Pick<RedriveAction, 'consumer' | 'actor'>,
): Promise<void> {
  const events = letters.flatMap((letter) => forcedEventOf(letter) ?? [])
  await remember(tx, consumer, events.map(consumedOf))
  await resolve(tx, letters, { as: 'discarded', actor })
}

const queueOf = ({ topic, name }: KeyGroup): Sql =>
  sql`topic = ${topic} and record_key = ${name} and blocks_key`

const aloneOf = ({ topic, name }: KeyGroup): Sql =>
  name === ''
    ? sql`topic = ${topic} and not blocks_key and (record_key is null or record_key = '' or length(record_key) > 16)`
    : sql`topic = ${topic} and not blocks_key and length(record_key) <= 16 and record_key = ${name}`

/** From there on: what was resolved in this transaction lies in the index still, and would be walked with every page. */
const behind = (last: QueuedLetter | undefined): Sql =>
  last ? sql`(partition, record_offset) > (${last.partition}::int, ${last.offset})` : sql`true`

/**
 * A page of unresolved letters in the order of the log, locked. By partition first: where a topic got more of them (a
 * multiple), a key stays where it was or moves to one with a higher number.
 */
export async function readLetters(
  { tx, action }: Pick<Move, 'tx' | 'action'>,
  which: Sql,
): Promise<QueuedLetter[]> {
  const unresolved = sql`
    select * from metrics.dead_letters where consumer = ${action.consumer} and resolved_at is null and ${which}`
  const rows = await tx.query<LetterRow & { selected: boolean }>(sql`
    select ${letterColumns}, ${recordColumns}, (${matches(action.selection)}) as selected
    from ${pageOf(unresolved, sql`partition, record_offset`, { lock: sql`for update` })} as letter
    order by partition, record_offset`)
  return rows.map(({ selected, ...row }) => ({ ...letterOf(row), selected }))
}

async function outcomeOf({ tx, group, action, tally }: Move, stays: readonly Stay[]): Promise<KeyOutcome> {
  const count = async (which: Sql) => {
    const [row] = await tx.query<{ count: number }>(sql`
      select count(*)::float8 as count from metrics.dead_letters
      where consumer = ${action.consumer} and resolved_at is null and ${which}`)
    return row?.count ?? 0
  }
  const asked = matches(action.selection)
  const { topic, name } = group
  const waiting = name === '' ? 0 : await count(queueOf(group))
  const queued = waiting > 0 && group.queued ? await count(sql`${queueOf(group)} and ${asked}`) : 0
  const alone = group.alone ? await count(sql`${aloneOf(group)} and ${asked}`) : 0
  return { topic, key: name === '' ? null : name, ...tally, waiting, left: queued + alone, stays }
}

function waitsBehind({ letter }: Stay, { name }: KeyGroup): Failure {
  const { eventId, id, reason, detail } = letter
  const [what, option] =
    eventId === null
      ? [`letter ${String(id)}`, `--id ${String(id)}`]
      : [`event ${eventId}`, `--event ${eventId}`]
  return new Failure(
    'CONFLICT',
    `It waits behind ${what} of key ${name}, which is parked as ${reason} (${detail}). Redrive or discard that one ` +
      `(${option}), or redrive the whole key (--key ${name}): events of a key are applied in order.`,
  )
}
