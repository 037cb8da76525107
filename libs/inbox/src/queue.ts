import { createHash } from 'node:crypto'
import type { LikeEvent } from '@likewise/events'
import { type Horizon, judge } from './judgement.ts'
import type { DeadLetter, WholeLetter } from './letter.ts'

/** A letter that may be among those somebody asked for. */
export type QueuedLetter = WholeLetter & { readonly selected: boolean }

export interface Movable {
  readonly letter: QueuedLetter
  readonly event: LikeEvent
}

/** A letter that stays, and why: a sentence for whoever asked. */
export interface Stay {
  readonly letter: DeadLetter & { readonly selected: boolean }
  readonly why: string
}

export interface Reading {
  readonly horizon: Horizon
  /** The database's clock. */
  readonly nowMs: number
  /** Apply also what is too old or from the future, or has no usable id. */
  readonly force: boolean
}

/**
 * Of a key's letters, in order, those to apply now: from the head up to the first that cannot be applied, or that nobody
 * asked for. One that was only parked behind another goes along once it is at the head. Pure.
 */
export function movableOf(
  queue: readonly QueuedLetter[],
  reading: Reading,
): { movable: Movable[]; stop: Stay | null } {
  const movable: Movable[] = []
  for (const letter of queue) {
    if (!letter.selected && letter.reason !== 'behind_parked') {
      return { movable, stop: { letter, why: 'it was not asked for' } }
    }
    const read = readLetter(letter, { ...reading, force: reading.force && letter.selected })
    if ('why' in read) return { movable, stop: { letter, why: read.why } }
    movable.push({ letter, event: read.event })
  }
  return { movable, stop: null }
}

const endless: Horizon = { dedupHorizonMs: Infinity, futureMaxMs: Infinity }

/**
 * The event of a letter, judged anew: a newer version may read what an older one could not, and an event grows too old
 * while it waits. Pure.
 */
export function readLetter(
  letter: WholeLetter,
  { horizon, nowMs, force }: Reading,
): { event: LikeEvent } | { why: string } {
  let judged = judge(letter.record, nowMs, force ? endless : horizon)
  if (force && judged.kind === 'parked' && judged.reason === 'bad_id') {
    const headers = { ...letter.record.headers, ce_id: idOfPlace(letter) }
    judged = judge({ ...letter.record, headers }, nowMs, endless)
  }
  if (judged.kind === 'event') return { event: judged.event }
  if (judged.kind === 'foreign') return { why: 'its type is none of this family: only a discard ends it' }
  const { reason, detail } = judged
  return { why: forceable.has(reason) ? `${detail}; --force applies it all the same` : detail }
}

/** The event that a letter has by force; null: it cannot be read, and has none yet. Pure. */
export function forcedEventOf(letter: WholeLetter): LikeEvent | null {
  const read = readLetter(letter, { horizon: endless, nowMs: 0, force: true })
  return 'event' in read ? read.event : null
}

const forceable: ReadonlySet<string> = new Set(['too_old', 'from_future', 'bad_id'])

/**
 * An id for an event that has none: its place in the log is what it is known by, so that it is applied once however often
 * it is redriven. A UUID v7 of the time at which it was parked.
 */
function idOfPlace({ topic, partition, offset, parkedAt }: DeadLetter): string {
  const time = parkedAt.getTime().toString(16).padStart(12, '0')
  const hash = createHash('sha256')
    .update(`${topic}/${String(partition)}/${String(offset)}`)
    .digest('hex')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${hash.slice(0, 3)}-8${hash.slice(3, 6)}-${hash.slice(6, 18)}`
}
