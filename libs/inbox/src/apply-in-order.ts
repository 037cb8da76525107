import { type Tx, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'
import { Failure } from '@likewise/service'
import { consumedOf } from './consumed.ts'
import { freshOf, remember } from './handle-once.ts'
import type { Movable } from './queue.ts'

export interface Effect {
  readonly consumer: string
  /** As of `handleBatch`: only statements on this transaction. */
  readonly work: (tx: Tx, fresh: readonly LikeEvent[]) => Promise<void>
}

export interface Applied {
  /** So many of the first have had their effect, now or before. */
  readonly done: number
  /** Of these, now. */
  readonly fresh: number
  /** Why the one after them has not: the effect rejects it. */
  readonly error?: Error
}

/**
 * Applies letters in order, all at once. Where the effect rejects them, halves them down to the one it rejects: what
 * comes before that one stays applied. An outage, or a transaction that must be tried again, rejects.
 */
export async function applyInOrder(
  tx: Tx,
  letters: readonly Movable[],
  { consumer, work }: Effect,
): Promise<Applied> {
  if (letters.length === 0) return { done: 0, fresh: 0 }
  const events = letters.map(({ event }) => event)
  await tx.execute(sql`savepoint before_letters`)
  try {
    // Not handleOnce, which judges ids by their age: a letter was judged, and may be forced.
    const fresh = freshOf(events, await remember(tx, consumer, events.map(consumedOf)))
    if (fresh.length > 0) await work(tx, fresh)
    await tx.execute(sql`release savepoint before_letters`)
    return { done: letters.length, fresh: fresh.length }
  } catch (error) {
    if (!(error instanceof Error) || !isOfTheEvent(error)) throw error
    await tx.execute(sql`rollback to savepoint before_letters`)
    await tx.execute(sql`release savepoint before_letters`)
    if (letters.length === 1) return { done: 0, fresh: 0, error }
  }
  const half = Math.ceil(letters.length / 2)
  const first = await applyInOrder(tx, letters.slice(0, half), { consumer, work })
  if (first.error) return first
  const second = await applyInOrder(tx, letters.slice(half), { consumer, work })
  return { ...second, done: first.done + second.done, fresh: first.fresh + second.fresh }
}

/** A Failure is about the server or the installation, unless the database refuses what this event would write. */
const isOfTheEvent = (error: Error): boolean =>
  !(error instanceof Failure) || error.code === 'DATABASE_REFUSED'
