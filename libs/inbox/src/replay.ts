import type { Database } from '@likewise/database'
import { partitionKeyOf } from '@likewise/events'
import { consumedOf } from './consumed.ts'
import { park, readBlockedKeys, readLetterOffsets } from './dead-letters.ts'
import { decide } from './decide.ts'
import { inTxOrDry } from './dry-run.ts'
import { freshOf, readHandled, remember } from './handle-once.ts'
import { type Judgement, judge } from './judgement.ts'
import { lockMark, touchMark } from './offsets.ts'
import type { PieceOptions } from './piece.ts'

export interface ReplayOptions extends Omit<PieceOptions, 'failed'> {
  /** Does all of it, and rolls it back. */
  readonly dryRun?: boolean
}

/** What became of records that were handled again. */
export interface Replayed {
  /** Had no effect before, and have it now. */
  readonly applied: number
  /** Had it before. */
  readonly hadEffect: number
  /** Have a dead letter, whatever became of that: it decides. */
  readonly letters: number
  /** Have a dead letter from now on. */
  readonly parked: number
  /** Too old (or too far ahead) to be told from what had its effect: left alone. */
  readonly unjudged: number
  readonly foreign: number
  /** Lie at or beyond the mark: the consumer will handle them. */
  readonly ahead: number
}

/**
 * Handles records of the log once more, in one transaction under the partition's mark, which is neither asked nor moved:
 * what has no effect and no dead letter gets one of the two. On correct data it changes nothing.
 *
 * It goes by event_handled: an event whose id was forgotten is applied, so what it counts must be gone with its id.
 */
export async function replayRecords(db: Database, options: ReplayOptions): Promise<Replayed> {
  const { scope, records, horizon, work, dryRun } = options
  return inTxOrDry(
    db,
    async (tx) => {
      const { nextOffset, nowMs } = await lockMark(tx, scope)
      const passed = records.filter(({ offset }) => offset < nextOffset)
      const withLetter = await readLetterOffsets(tx, scope, passed.map(({ offset }) => offset)) // prettier-ignore
      const judged = passed
        .filter(({ offset }) => !withLetter.has(offset))
        .map((record) => judge(record, nowMs, horizon))
      const judgeable = judged.filter((one) => !isUnjudged(one))
      const known = judgeable.flatMap((one) => (one.kind === 'event' ? [one.event] : []))
      const { events, parked } = decide(judgeable, {
        blocked: await readBlockedKeys(tx, scope, [...new Set(known.map(partitionKeyOf))]),
        resolved: new Set(),
        handled: await readHandled(tx, scope.consumer, known),
      })
      const fresh = freshOf(events, await remember(tx, scope.consumer, events.map(consumedOf)))
      if (fresh.length > 0) await work(tx, fresh)
      await park(tx, scope, parked)
      if (parked.length > 0) await touchMark(tx, scope)
      return {
        applied: fresh.length,
        hadEffect: events.length - fresh.length,
        letters: withLetter.size,
        parked: parked.length,
        unjudged: judged.length - judgeable.length,
        foreign: judgeable.filter(({ kind }) => kind === 'foreign').length,
        ahead: records.length - passed.length,
      }
    },
    { dryRun },
  )
}

const isUnjudged = (one: Judgement): boolean =>
  one.kind === 'parked' && (one.reason === 'too_old' || one.reason === 'from_future')
