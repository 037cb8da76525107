import type { Database, Tx } from '@likewise/database'
import { type Logger, type Telemetry, buildLimit } from '@likewise/service'
import { mayBeOfEvent } from './fault.ts'
import { buildGate } from './gate.ts'
import { buildGathering } from './gathering.ts'
import { handleBatch } from './handle-batch.ts'
import type { InboxRecord } from './judgement.ts'
import { type LogCheck, type Look, checkLog, viewOf } from './log-check.ts'
import { type LeftMark, type Mark, type Scope, dropMark, lockMark } from './offsets.ts'
import { type BatchOutcome, type PieceOptions, type Together, handlePiece, handleTogether } from './piece.ts'
import { noteStart, readStart, withdrawStart } from './start-note.ts'
import { type Start, aloneBelow, startAlone, startsMax } from './start.ts'
import { inboxTelemetry } from './telemetry.ts'

export interface HandlerOptions extends Pick<PieceOptions, 'horizon' | 'work' | 'workWithin'> {
  readonly db: Database
  readonly consumer: string
  /** Transactions with large batches, and takeovers, at the same time; one more is for the small batches. */
  readonly transactionsAtOnceMax: number
  readonly log: Logger
  readonly telemetry: Telemetry
}

/**
 * Batches of so many records at most go into one transaction with those of other partitions. A transaction costs the
 * same however little is in it: for a fetch of 12 partitions with a record each, 12 of them (three at a time) take 16.5 ms
 * and 18 ms of CPU, one takes 3.3 ms and 2.1 ms.
 */
const smallMax = 100

/** A batch as a subscriber hands it over. */
export interface HandlerBatch {
  readonly topic: string
  readonly partition: number
  readonly records: readonly InboxRecord[]
  /** The first one of this partition since it was assigned. */
  readonly isFirst: boolean
  /** The offset that the partition's next record will get. */
  readonly logEnd: bigint
  readonly stopping: AbortSignal
  /** Called after each transaction: a batch that has to be taken to pieces may take minutes, and gets on all the same. */
  readonly gotOn?: () => void
}

/** What this process knows of a partition. */
interface Hold {
  isTaken: boolean
  /** What the next batch was asked for. */
  looked: Look | null
  /** Where the next batch begins, as far as this process knows. */
  next: bigint
  /** Records below go one by one: a process ended while it had them in hand. */
  aloneBelow: bigint
  /** Of these, the ones below are handled: where one has to be tried again, the batch comes again whole. */
  aloneDone: bigint
  /** How this process left the mark, where a small batch was the last. */
  left?: LeftMark | undefined
  /** What this process has noted: it does not speak against the records as long as the process lives. */
  own?: Start
}

/**
 * Handles the batches of one process. On top of handleBatch, a partition that is taken over (also where its offsets go
 * back) is looked at once: whether its log is still the one of the mark (see checkLog), and whether a process ended
 * while it had these records in hand (see start.ts). All other batches pay nothing for it.
 *
 * Records that are suspected of killing the process are handled one by one, each noted first, and with nothing else in
 * hand: so that no innocent one is near. One that it still kills the third time is parked as `failed`.
 *
 * @returns for each batch undefined, or an offset: then nothing was handled, and the partition is to be read from there.
 */
export function buildHandler(options: HandlerOptions): (batch: HandlerBatch) => Promise<bigint | undefined> {
  const { consumer, telemetry } = options
  const context: Context = {
    ...{ ...options, told: inboxTelemetry(telemetry), gate: buildGate() },
    limited: buildLimit(options.transactionsAtOnceMax),
    gathered: buildGathering((pieces) => together(options.db, pieces)),
  }
  const holds = new Map<string, Hold>()

  return async function onBatch(batch) {
    const { topic, partition, records, isFirst } = batch
    const [first, last] = [records[0], records.at(-1)]
    if (!first || !last) return undefined
    const name = `${topic}/${String(partition)}`
    const hold: Hold = holds.get(name) ?? {
      isTaken: false,
      looked: null,
      next: 0n,
      aloneBelow: 0n,
      aloneDone: 0n,
    }
    holds.set(name, hold)
    // What comes of a look begins before it, where the log has no such offset any more.
    const goesBack = first.offset < hold.next && hold.looked === null
    if (isFirst || goesBack) Object.assign(hold, { isTaken: false, looked: null, left: undefined })

    const scope: Scope = { consumer, topic, partition }
    if (!hold.isTaken) {
      const readFrom = await context.limited(() => takeOver(context, scope, { batch, hold }))
      if (readFrom !== undefined) return (hold.next = readFrom)
    }
    const end = context.told.seconds.startTimer()
    await handleRecords(context, scope, { batch, hold })
    end()
    context.told.age.observe(Math.max(0, Date.now() - first.timeMs) / 1_000)
    hold.next = last.offset + 1n
    return undefined
  }
}

interface Context extends HandlerOptions {
  told: ReturnType<typeof inboxTelemetry>
  gate: ReturnType<typeof buildGate>
  limited: ReturnType<typeof buildLimit>
  gathered: (piece: PieceOptions) => Promise<Together>
}

interface Held {
  batch: HandlerBatch
  hold: Hold
}

/** So long a takeover may take: where the log is another one, its dead letters move, be they a million. */
const takeOverTimeoutMs = 600_000

/** Looks at the log and at what was begun, in one transaction under the mark's lock. @returns where to read instead. */
async function takeOver(
  context: Context,
  scope: Scope,
  { batch: { records, logEnd }, hold }: Held,
): Promise<bigint | undefined> {
  const look = async (tx: Tx) => {
    const mark = await lockMark(tx, scope)
    const check = checkLog(mark, { ...viewOf(records, mark), logEnd }, hold.looked)
    if (check.kind === 'replaced') await dropMark(tx, scope)
    if (check.kind !== 'same') return { mark, check }

    const wanted = records.filter(({ offset }) => offset >= mark.nextOffset)
    const [from, last] = [wanted[0]?.offset, wanted.at(-1)?.offset]
    hold.aloneBelow = aloneBelow(await readStart(tx, scope), hold.own, wanted)
    hold.aloneDone = mark.nextOffset
    if (hold.aloneBelow === 0n && from !== undefined && last !== undefined) {
      hold.own = { from, to: last + 1n, starts: 1 }
      await noteStart(tx, scope, hold.own)
    }
    return { mark, check }
  }
  const { mark, check } = await context.db.tx(look, { timeoutMs: takeOverTimeoutMs })
  tell(context, scope, { mark, check })
  hold.looked = check.kind === 'look' ? check.look : null
  hold.isTaken = check.kind === 'same'
  if (check.kind === 'look') return check.from
  return check.kind === 'replaced' ? 0n : undefined
}

function tell(
  { log, told }: Context,
  { topic, partition }: Scope,
  { mark, check }: { mark: Mark; check: LogCheck },
): void {
  const nextOffset = String(mark.nextOffset)
  if (check.kind === 'replaced') {
    told.logsReplaced.inc()
    log.error(
      { topic, partition, nextOffset, why: check.why },
      'the partition holds another log than was read: it is read from its beginning, and events that had their effect are passed over by their ids',
    )
  } else if (check.kind === 'same' && check.missing > 0n) {
    told.missing.inc(Number(check.missing))
    log.warn(
      { topic, partition, nextOffset, missing: String(check.missing) },
      'records were removed by the broker before they were read: reading goes on at the first one it holds',
    )
  }
}

async function handleRecords(context: Context, scope: Scope, { batch, hold }: Held): Promise<void> {
  const { db, log, told, gate, limited, gathered, horizon, work, workWithin } = context
  const { records, stopping } = batch
  const common = { scope, horizon, work, stopping }
  const { left } = hold
  delete hold.left // whatever happens now, unless it is known
  const onHandled = (outcome: BatchOutcome): void => {
    told.count(outcome)
    batch.gotOn?.()
    const { topic, partition } = scope
    for (const letter of outcome.parked) {
      log.warn({ ...letter, offset: String(letter.offset), topic, partition }, 'event parked')
    }
    log.debug({ partition, ...outcome, parked: outcome.parked.length }, 'batch handled')
  }
  const { aloneBelow: below, aloneDone: from } = hold
  const isSuspect = ({ offset }: InboxRecord): boolean => offset >= from && offset < below
  const suspects = records.filter(isSuspect)
  if (suspects.length > 1) log.warn({ ...scope, count: suspects.length }, 'a process ended in this batch: its records are handled one by one') // prettier-ignore
  for (const record of suspects) {
    await gate.alone(async () => {
      const start = await beginAlone(context, scope, { record, hold })
      if (start !== 'park') {
        return handleBatch(db, { ...common, records: [record], onHandled }).catch(async (error: unknown) => {
          await liveOn(context, scope, hold)
          throw error
        })
      }
      const failed = { detail: killed, attempts: startsMax - 1 }
      const outcome = await handlePiece(db, { ...common, records: [record], failed })
      onHandled(outcome)
      return outcome
    })
    hold.aloneDone = record.offset + 1n
    stopping.throwIfAborted()
  }
  const rest = records.filter((record) => !isSuspect(record))
  if (rest.length === 0) return
  await gate.together(async () => {
    const small = { ...common, records: rest, ...(left && { left }), ...(workWithin && { workWithin }) }
    const done = rest.length <= smallMax ? await gathered(small) : 'apart'
    if (done === 'apart') {
      await limited(() => handleBatch(db, { ...common, records: rest, onHandled }))
    } else {
      hold.left = done.left
      onHandled(done.outcome)
    }
  })
}

/** Where one of them may be at fault, each goes its own way. */
async function together(
  db: Database,
  pieces: readonly [PieceOptions, ...PieceOptions[]],
): Promise<readonly Together[]> {
  const ofOne = pieces.every(({ scope }) => scope.topic === pieces[0].scope.topic)
  const apart = () => pieces.map(() => 'apart' as const)
  if (!ofOne) return apart()
  return handleTogether(db, pieces).catch((error: unknown) => {
    if (mayBeOfEvent(error)) return apart()
    throw error
  })
}

const killed = `the process ended ${String(startsMax - 1)} times while it had this record in hand, and nothing else`

/** Notes a record that is handled alone, in a transaction of its own, so that the note outlives the process. */
async function beginAlone(
  { db, told }: Context,
  scope: Scope,
  { record, hold }: { record: InboxRecord; hold: Hold },
): Promise<'begun' | 'park'> {
  return db.tx(async (tx) => {
    const mark = await lockMark(tx, scope)
    if (record.offset < mark.nextOffset) return 'begun' // it will be skipped
    const start = startAlone(await readStart(tx, scope), hold.own, record.offset)
    if (start === 'park') return 'park'
    told.suspects.inc()
    await noteStart(tx, scope, start)
    hold.own = start
    return 'begun'
  })
}

/**
 * An outage or a stop kept the record from being handled, and that is no death: whoever begins it next must not take it for
 * one. A database that is away cannot be told; then one start too many stands there.
 */
async function liveOn({ db, log }: Context, scope: Scope, hold: Hold): Promise<void> {
  if (hold.own === undefined) return
  try {
    await withdrawStart(db, scope, hold.own)
    delete hold.own
  } catch (error) {
    log.debug({ err: error, ...scope }, 'a note could not be taken back')
  }
}
