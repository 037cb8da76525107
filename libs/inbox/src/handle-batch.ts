import type { Database } from '@likewise/database'
import { pause } from '@likewise/service'
import { detailOf, mayBeOfEvent } from './fault.ts'
import { type BatchOutcome, type PieceOptions, handlePiece } from './piece.ts'

export interface BatchOptions extends Omit<PieceOptions, 'failed'> {
  /** Told of each transaction that was committed; of a batch in pieces the last may be missing. */
  readonly onHandled?: (outcome: BatchOutcome) => void
  readonly stopping?: AbortSignal
}

/** So often a record is tried alone before it is parked as `failed`. */
const triesMax = 3
const betweenTriesMs = 50

/**
 * Handles a batch of one partition in one transaction (see handlePiece). A redelivery of any age is exact by the mark
 * alone; the ids catch what was published twice. The broker is told only after the commit.
 *
 * An error that may be an event's fault does not stop the partition: the batch is halved, each half in a transaction of
 * its own and in order, until the record stands alone. It is tried three times and then parked as `failed`, with the
 * error's sentence; the later events of its key wait behind it, all others flow. An outage is thrown as it is, whatever
 * has been done by then: the same batch again goes on behind that.
 */
export async function handleBatch(db: Database, options: BatchOptions): Promise<BatchOutcome> {
  const { records, onHandled = () => undefined } = options
  if (records.length <= 1) return handleAlone(db, options)
  try {
    const outcome = await handlePiece(db, options)
    onHandled(outcome)
    return outcome
  } catch (error) {
    if (!mayBeOfEvent(error)) throw error
  }
  const middle = records.length >> 1
  const first = await handleBatch(db, { ...options, records: records.slice(0, middle) })
  options.stopping?.throwIfAborted()
  return sumOf(first, await handleBatch(db, { ...options, records: records.slice(middle) }))
}

async function handleAlone(db: Database, options: BatchOptions): Promise<BatchOutcome> {
  const { onHandled = () => undefined, stopping } = options
  let outcome: BatchOutcome | undefined
  for (let attempt = 1; outcome === undefined; attempt += 1) {
    try {
      outcome = await handlePiece(db, options)
    } catch (error) {
      if (!mayBeOfEvent(error)) throw error
      if (attempt === triesMax) {
        outcome = await handlePiece(db, {
          ...options,
          failed: { detail: detailOf(error), attempts: triesMax },
        })
      } else {
        await pause(betweenTriesMs * attempt * (0.5 + Math.random()), stopping)
        stopping?.throwIfAborted()
      }
    }
  }
  onHandled(outcome)
  return outcome
}

function sumOf(one: BatchOutcome, other: BatchOutcome): BatchOutcome {
  return {
    handled: one.handled + other.handled,
    duplicates: one.duplicates + other.duplicates,
    skipped: one.skipped + other.skipped,
    parked: [...one.parked, ...other.parked],
    foreign: one.foreign + other.foreign,
  }
}
