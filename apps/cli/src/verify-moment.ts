import type { Database, Queryable, Tx } from '@likewise/database'
import { holdRemembered, readNextOffsets } from '@likewise/inbox'
import { type KafkaOptions, readTopicEnds } from '@likewise/kafka'
import { type Ledger, isPublishedUpTo, openLedger } from '@likewise/outbox'
import { Failure, pause } from '@likewise/service'
import { counted } from './progress.ts'

export interface Sides {
  readonly catalog: Database
  readonly metrics: Database
  readonly kafka: KafkaOptions
  readonly consumer: string
  readonly topic: string
}

/**
 * Two databases share no snapshot. So what the producer side has committed (C) is waited for on the consumer side, and what
 * that side has handled beyond it is told by a later look at the outbox:
 */
export interface Moment {
  /** The producer side as of C. */
  readonly committed: Tx
  readonly ledger: Ledger
  /** Of the topic. */
  readonly partitions: number
  /** The consumer side as of M, where every record that carries an event of C lies before its marks. */
  readonly handled: Tx
  /** The producer side after M: everything that M has handled is in it. */
  readonly later: Tx
}

export interface Waiting {
  /** A sentence: what has not been handled yet. */
  readonly waitsFor: string
}

/** A moment that was not handled after so long is given up for a newer one: the fewer events lie behind it, the better. */
const firstRoundMs = 10_000
const pollMs = 100
/** As long as the looks through both databases may take. */
const momentTimeoutMs = 6 * 3_600_000

const snapshotTx = { isolation: 'RepeatableRead', timeoutMs: momentTimeoutMs } as const

export interface Patience {
  /** Infinity: as long as it takes. */
  readonly patienceMs: number
  readonly tell: (waiting: Waiting) => void
}

/**
 * Finds a moment at which the two sides can be compared, and does `work` with it. Outages are waited out as well.
 * @returns what could not be waited for.
 */
export async function atOneMoment<T extends object>(
  sides: Sides,
  { patienceMs, tell }: Patience,
  work: (moment: Moment) => Promise<T>,
): Promise<T | Waiting> {
  const endMs = performance.now() + patienceMs
  for (let roundMs = firstRoundMs; ; roundMs *= 2) {
    const untilMs = Math.min(endMs, performance.now() + roundMs)
    const outcome = await lookOnce(sides, { untilMs, tell }, work)
    if (!('waitsFor' in outcome)) return outcome
    tell(outcome)
    if (performance.now() >= endMs) return outcome
  }
}

interface Round {
  readonly untilMs: number
  readonly tell: (waiting: Waiting) => void
}

async function lookOnce<T extends object>(
  sides: Sides,
  round: Round,
  work: (moment: Moment) => Promise<T>,
): Promise<T | Waiting> {
  const { catalog, metrics } = sides
  try {
    return await catalog.tx(async (committed) => {
      const ledger = await openLedger(committed)
      const ends = await untilHandled(sides, ledger, round)
      if ('waitsFor' in ends) return ends
      return metrics.tx(async (handled) => {
        await holdRemembered(handled)
        // Once more, as this transaction sees it: a mark goes back where the topic was made again.
        const behind = await readBehind(handled, sides, ends)
        return (
          behind ??
          catalog.tx(
            (later) => work({ committed, ledger, handled, later, partitions: ends.length }),
            snapshotTx,
          )
        )
      }, snapshotTx)
    }, snapshotTx)
  } catch (error) {
    if (!(error instanceof Failure && error.retryable)) throw error
    await pause(Math.min(1_000, Math.max(0, round.untilMs - performance.now())))
    return { waitsFor: error.message }
  }
}

type Ends = Awaited<ReturnType<typeof readTopicEnds>>

/** @returns the ends of the log that the consumer has passed: every event of the ledger's moment that is on it lies before. */
async function untilHandled(
  { catalog, metrics, ...about }: Sides,
  { snapshot }: Ledger,
  round: Round,
): Promise<Ends | Waiting> {
  const unpublished = await untilNull(
    async () => ((await isPublishedUpTo(catalog, snapshot)) ? null : notPublished),
    round,
  )
  if (unpublished) return unpublished
  const ends = await readTopicEnds(about.kafka, about.topic)
  const behind = await untilNull(() => readBehind(metrics, about, ends), round)
  if (behind) return behind
  return (await endsBeforeMarks(metrics, about)) ?? ends
}

const notPublished = { waitsFor: 'The relays have not published all that is committed: likewise status.' }

async function untilNull(
  look: () => Promise<Waiting | null>,
  { untilMs, tell }: Round,
): Promise<Waiting | null> {
  for (;;) {
    const waiting = await look()
    if (!waiting || performance.now() >= untilMs) return waiting
    tell(waiting)
    await pause(pollMs)
  }
}

type About = Pick<Sides, 'consumer' | 'topic' | 'kafka'>

async function readBehind(db: Queryable, { consumer, topic }: About, ends: Ends): Promise<Waiting | null> {
  const marks = await readNextOffsets(db, consumer, topic)
  const behind = ends.map(({ partition, start, end }) => {
    const next = marks.get(partition) ?? 0n
    // Where nothing is left, nothing can be handled: what expired unread is missing, and not waited for.
    return start === end || next >= end ? 0 : Number(end - (next > start ? next : start))
  })
  const records = behind.reduce((sum, n) => sum + n, 0)
  if (records === 0) return null
  return {
    waitsFor: `${consumer} is ${counted(records)} ${records === 1 ? 'record' : 'records'} of ${topic} behind: likewise status.`,
  }
}

/** A mark beyond an end that was told after it is of another log, and proves nothing about this one. */
async function endsBeforeMarks(db: Queryable, { consumer, topic, kafka }: About): Promise<Waiting | null> {
  const marks = await readNextOffsets(db, consumer, topic)
  const lost = (await readTopicEnds(kafka, topic)).find(
    ({ partition, end }) => end < (marks.get(partition) ?? 0n),
  )
  if (!lost) return null
  return {
    waitsFor:
      `Partition ${String(lost.partition)} of ${topic} ends at offset ${String(lost.end)}, before where ${consumer} is: ` +
      'the topic was made again or has lost its end. The consumer sees that with its next record.',
  }
}
