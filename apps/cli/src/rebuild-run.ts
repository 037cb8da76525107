import type { Database } from '@likewise/database'
import {
  type FinishedModel,
  type LiveMark,
  type LogPiece,
  type Rebuild,
  type RebuildState,
  compareRebuild,
  readMarks,
  readRebuild,
  readRebuildOffsets,
  releaseRebuild,
  renewRebuild,
  stepRebuild,
  switchRebuild,
  wasSwitched,
} from '@likewise/inbox'
import type { KafkaOptions } from '@likewise/kafka'
import type { Differences } from '@likewise/metrics'
import { Failure, backoffMs, pause, within } from '@likewise/service'
import { type showProgress, sumOf } from './progress.ts'
import { type Source, openSource, requireSameModel } from './rebuild-source.ts'

/** Entries of one transaction: with four times as many it is no faster, and memory is. */
const stepMax = 3_000
/** Nearer to the live model than this, the rest is counted while that one stands still. */
const nearRecords = 2_000
/** So long the live model may stand still for it; then it goes on, and it is tried again. */
const stillMs = 3_000
const askEveryMs = 5_000
const backoff = { baseMs: 100, capMs: 5_000, random: Math.random }

export interface Running {
  readonly db: Database
  readonly kafka: KafkaOptions
  readonly rebuild: Rebuild
  readonly model: FinishedModel<Differences>
  readonly progress: ReturnType<typeof showProgress>
  readonly stopping: AbortSignal
  readonly say: (line: string) => void
}

export interface Finished {
  readonly differences: Differences
  /** As of the end. */
  readonly state: RebuildState | null
  /** How long batches of the live model waited, at most. */
  readonly stoodStillMs: number
}

/**
 * Counts the topic into the rebuilt model up to where the live one stands, and compares the two, or switches. Outages are
 * waited out.
 * @returns 'stopped' where `stopping` came first: what was counted is kept. 'in doubt' where it came before the database
 *   could say whether the switch was made.
 */
export async function runRebuild(
  running: Running,
  actor: string | null,
): Promise<Finished | 'stopped' | 'in doubt'> {
  const { db, kafka, rebuild, stopping, progress } = running
  const begun = await patiently(running, async () => ({
    offsets: await readRebuildOffsets(db),
    state: await readRebuild(db),
  }))
  if (begun === 'stopped') return begun
  const { offsets } = begun
  const source = openSource(kafka, rebuild, offsets)
  const since = begun.state?.lettersSince ?? new Date(0)
  const bases = sumOf(offsets.map(({ baseOffset }) => baseOffset))
  const counting: Counting = { ...running, source, since, bases, unanswered: undefined, unsure: false }
  const lease = keepLease(running)
  const finishing = { adopted: undefined as Differences | undefined, hasSaidWhy: false }
  try {
    for (let attempt = 1; ; attempt += 1) {
      counting.unsure = false
      const marks = await follow(counting, lease)
      if (marks === 'stopped') return 'stopped'
      let [stillSince, state]: [number, RebuildState | null] = [0, null]
      const catchUp = async (still: readonly LiveMark[]) => {
        stillSince = performance.now()
        requireSame(counting, still)
        try {
          const isThere = await countTo(counting, still, stillSince + stillMs)
          state = await inTime(readRebuild(db), stillSince + stillMs)
          if (isThere) tell(counting, still, 'end')
          return isThere
        } catch (error) {
          if (!(error instanceof Failure && error.retryable)) throw error
          if (!finishing.hasSaidWhy) sayWaits(running, error)
          finishing.hasSaidWhy = true
          return false
        }
      }
      const differences = await patiently(running, () =>
        finish(counting, { catchUp, actor, finishing, lease }),
      )
      if (differences === 'stopped') return finishing.adopted ? 'in doubt' : 'stopped'
      if (differences !== 'not yet')
        return { differences, state, stoodStillMs: performance.now() - stillSince }
      await pause(backoffMs({ attempt, ...backoff }), stopping)
    }
  } finally {
    progress.leave()
    await lease.stop()
    await source.stop()
    await releaseRebuild(db, rebuild).catch(() => undefined)
  }
}

interface Finishing {
  readonly catchUp: (still: readonly LiveMark[]) => Promise<boolean>
  readonly actor: string | null
  readonly lease: Lease
  /** What the switch under way, if there is one, would change: it is what it has changed where its answer is lost. */
  readonly finishing: { adopted: Differences | undefined }
}

async function finish(
  counting: Counting,
  { catchUp, actor, finishing, lease }: Finishing,
): Promise<Differences | 'not yet'> {
  const { db, rebuild, model } = counting
  if (actor === null) return compareRebuild(db, rebuild, { model, catchUp })
  if (finishing.adopted && (await wasSwitched(db, rebuild))) return finishing.adopted
  finishing.adopted = undefined
  const foresee: typeof model.foresee = async (tx) => {
    const adopt = await model.foresee(tx)
    return async (later) => (finishing.adopted = await adopt(later))
  }
  return switchRebuild(db, rebuild, {
    ...{ model: { ...model, foresee }, catchUp, actor },
    follow() {
      counting.unsure = true
      return follow(counting, lease)
    },
  })
}

type Counting = Running & {
  readonly source: Source
  readonly bases: bigint
  readonly since: Date
  /** A step that may have been made, although there was no answer in time: no other one comes before it. */
  unanswered: readonly LogPiece[] | undefined
  /** As steps are to be counted; see stepRebuild. */
  unsure: boolean
}

const requireSame = ({ rebuild, since, source }: Counting, marks: readonly LiveMark[]): void =>
  requireSameModel(rebuild.topic, marks, { since, nextOf: source.ahead.nextOf })

/** Counts until the live model is near. @returns its marks. */
async function follow(counting: Counting, lease: Lease): Promise<readonly LiveMark[] | 'stopped'> {
  const { source, stopping, rebuild, db } = counting
  for (let askedMs = performance.now(); ;) {
    if (isOver(stopping)) return 'stopped'
    source.check()
    lease.check()
    const marks = await patiently(counting, () => readMarks(db, rebuild.consumer, rebuild.topic))
    if (marks === 'stopped') return 'stopped'
    requireSame(counting, marks)
    tell(counting, marks)
    const lag = sumOf(marks.map((mark) => mark.nextOffset - source.ahead.nextOf(mark.partition)))
    if (lag <= BigInt(nearRecords) && isAtHand(source, marks)) return marks
    if (await countSome(counting, marks)) continue
    await source.ahead.changed(500)
    if (performance.now() - askedMs < askEveryMs) continue
    askedMs = performance.now()
    await patiently(counting, () => source.requireHeld())
  }
}

/** Everything before the marks is counted or read. */
const isAtHand = ({ ahead }: Source, marks: readonly LiveMark[]): boolean =>
  marks.every(({ partition, nextOffset }) => ahead.readTo(partition) >= nextOffset)

/** @returns false where nothing is to be counted now. */
async function countSome(counting: Counting, marks: readonly LiveMark[]): Promise<boolean> {
  return step(counting, marks, async (pieces) => {
    const { db, rebuild, model, unsure } = counting
    return (
      (await patiently(counting, () => stepRebuild(db, rebuild, { pieces, model, unsure }))) !== 'stopped'
    )
  })
}

async function step(
  counting: Counting,
  marks: readonly LiveMark[],
  count: (pieces: readonly LogPiece[]) => Promise<boolean>,
): Promise<boolean> {
  const { ahead } = counting.source
  const goals = new Map(marks.map(({ partition, nextOffset }) => [partition, nextOffset]))
  const pieces = counting.unanswered ?? ahead.take(goals, stepMax)
  if (pieces.length === 0) return false
  counting.unanswered = pieces
  if (!(await count(pieces))) return true
  counting.unanswered = undefined
  ahead.done(pieces)
  return true
}

/**
 * Counts while the live model stands still: here nothing is waited out.
 * @returns false where it is not done in time. Rejects with why a step could not be made.
 */
async function countTo(counting: Counting, marks: readonly LiveMark[], deadlineMs: number): Promise<boolean> {
  const { source, stopping, db, rebuild, model } = counting
  const isThere = () =>
    marks.every(({ partition, nextOffset }) => source.ahead.nextOf(partition) >= nextOffset)
  while (!isThere()) {
    source.check()
    const limitMs = deadlineMs - performance.now()
    if (limitMs <= 0 || stopping.aborted) return false
    const isCounted = await step(counting, marks, async (pieces) => {
      await inTime(stepRebuild(db, rebuild, { pieces, model, unsure: true, limitMs }), deadlineMs)
      return true
    })
    if (!isCounted) await source.ahead.changed(50)
  }
  return true
}

/** What the live model stands still for, and no longer; what is asked of the database then ends there by itself. */
const inTime = <T>(work: Promise<T>, deadlineMs: number): Promise<T> =>
  within(
    Math.max(0, deadlineMs - performance.now()),
    work,
    () =>
      new Failure(
        'DATABASE_BUSY',
        `The last records could not be counted within ${String(stillMs / 1_000)} s. Batches go on meanwhile, the live model is as it was, and it is tried again.`,
      ),
  )

function tell({ source, bases, progress }: Counting, marks: readonly LiveMark[], how?: 'end'): void {
  const total = Number(sumOf(marks.map(({ nextOffset }) => nextOffset)) - bases)
  const done = Number(sumOf(marks.map(({ partition }) => source.ahead.nextOf(partition))) - bases)
  if (how === 'end') progress.end(done, total)
  else progress.tell(done, total)
}

/** Asked anew after each wait, which the compiler does not see. */
const isOver = (signal: AbortSignal): boolean => signal.aborted

/** Waits an outage out, and says so once. */
export async function patiently<T>(
  { stopping, progress, say }: Pick<Running, 'stopping' | 'progress' | 'say'>,
  work: () => Promise<T>,
): Promise<T | 'stopped'> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      if (isOver(stopping)) return 'stopped'
      if (!(error instanceof Failure && error.retryable)) throw error
      if (attempt === 1) sayWaits({ progress, say }, error)
      await pause(backoffMs({ attempt, ...backoff }), stopping)
      if (isOver(stopping)) return 'stopped'
    }
  }
}

function sayWaits({ progress, say }: Pick<Running, 'progress' | 'say'>, { message }: Failure): void {
  progress.leave()
  say(`  waits: ${message}`)
}

interface Lease {
  check(): void
  stop(): Promise<void>
}

const renewEveryMs = 3_000

/** Keeps the rebuild this process's own, also while a step or a comparison takes long. */
function keepLease({ db, rebuild }: Running): Lease {
  const stopping = new AbortController()
  let lost: { error: unknown } | undefined
  const keep = async () => {
    while (!lost) {
      await pause(renewEveryMs, stopping.signal)
      if (isOver(stopping.signal)) return
      await renewRebuild(db, rebuild).catch((error: unknown) => {
        if (!(error instanceof Failure && error.retryable)) lost = { error }
      })
    }
  }
  const keeping = keep()
  return {
    check() {
      if (lost) throw lost.error
    },
    stop() {
      stopping.abort()
      return keeping
    },
  }
}
