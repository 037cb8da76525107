import { type LikeEvent, decode } from '@likewise/events'
import {
  type InboxRecord,
  type Judgement,
  type Known,
  type Parked,
  type QueuedLetter,
  type Start,
  decide,
  judge,
  movableOf,
  namesOf,
  parkFailed,
  suspectsOf,
} from '@likewise/inbox/decisions'
import { deltasOf } from '@likewise/metrics/decisions'
import type { Transaction } from '../checker/history.ts'
import { epochMs } from './catalog.ts'
import type { Server, World } from './world.ts'

export interface Mark {
  nextOffset: bigint
  lastRecord: string | null
  started: Start | null
}

export interface Letter {
  readonly partition: number
  readonly parked: Parked
  resolution: 'redriven' | 'discarded' | null
}

export interface InboxBugs {
  /** Ids are not remembered. */
  readonly noIds?: boolean
  /** The mark does not say what to skip. */
  readonly noMark?: boolean
  /** The mark moves in a transaction of its own, before the work. */
  readonly markFirst?: boolean
  /** The events are remembered in a transaction of its own, before the work. */
  readonly rememberFirst?: boolean
}

const dayMs = 86_400_000
const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }

interface Tables {
  readonly world: World
  readonly bugs: InboxBugs
  readonly marks: Map<number, Mark>
  readonly handled: Set<string>
  readonly letters: Letter[]
  readonly transactions: Transaction[]
  readonly counts: Map<number, number>
}

export type Inbox = ReturnType<typeof buildInbox>

/** The tables of the consumer side. Each function is a transaction; the lock of its mark lets one run at a time. */
export function buildInbox(world: World, bugs: InboxBugs = {}) {
  const server: Server = { downUntilMs: 0 }
  const tables: Tables = {
    ...{ world, bugs, marks: new Map<number, Mark>(), handled: new Set<string>() },
    ...{ letters: [], transactions: [], counts: new Map<number, number>() },
  }
  const { marks, letters, transactions, counts } = tables
  return {
    ...{ server, marks, letters, transactions, counts },
    markOf: (partition: number) => markOf(tables, partition),
    handle: (partition: number, records: readonly InboxRecord[], failed = false) =>
      handle(tables, { partition, records, failed }),
    handleHalf: (partition: number, records: readonly InboxRecord[]) =>
      handleHalf(tables, { partition, records, failed: false }),
    redriveAll: () => redriveAll(tables),
  }
}

interface Batch {
  readonly partition: number
  readonly records: readonly InboxRecord[]
  /** It is parked as failed. */
  readonly failed: boolean
}

function markOf({ marks }: Tables, partition: number): Mark {
  const mark = marks.get(partition) ?? { nextOffset: 0n, lastRecord: null, started: null }
  marks.set(partition, mark)
  return mark
}

const nowMs = ({ world }: Tables): number => epochMs + world.now()

/** The distinct ones whose ids are new, remembered and counted. */
function apply(
  { bugs, handled, counts, transactions }: Tables,
  events: readonly LikeEvent[],
  { work = true, remember = true } = {},
): LikeEvent[] {
  const fresh: LikeEvent[] = []
  for (const event of events) {
    if (!bugs.noIds && handled.has(event.id) && remember) continue
    if (remember) handled.add(event.id)
    fresh.push(event)
  }
  const changes = work ? deltasOf(fresh) : []
  for (const { productId, added, removed } of changes) {
    counts.set(productId, (counts.get(productId) ?? 0) + added - removed)
  }
  transactions.push({
    remembered: remember ? fresh.map(({ id }) => id) : [],
    changes: changes.map(({ productId, added, removed }) => ({ productId, added, removed })),
  })
  return fresh
}

function move(mark: Mark, judged: readonly Judgement[], records: readonly InboxRecord[]): void {
  const [last, lastJudged] = [records.at(-1), judged.at(-1)]
  if (last === undefined || last.offset < mark.nextOffset) return
  mark.nextOffset = last.offset + 1n
  mark.lastRecord = lastJudged?.kind === 'event' ? lastJudged.event.id : namesOf(last)[0]
  mark.started = null
}

function judgedOf(tables: Tables, { records, failed }: Batch): Judgement[] {
  return records.map((record): Judgement => {
    const one = judge(record, nowMs(tables), horizon)
    const isFailed = failed && one.kind === 'event'
    return isFailed ? parkFailed(record, one.event, { detail: 'died', attempts: 2 }) : one
  })
}

/** As handlePiece. */
function handle(tables: Tables, batch: Batch): void {
  const { bugs, letters } = tables
  const { partition } = batch
  const mark = markOf(tables, partition)
  const wanted = bugs.noMark ? batch.records : batch.records.filter(({ offset }) => offset >= mark.nextOffset)
  if (wanted.length === 0) return
  const judged = judgedOf(tables, { ...batch, records: wanted })
  const { events, parked } = decide(judged, knownOf(tables, partition, judged))
  apply(tables, events)
  const own = letters.filter((letter) => letter.partition === partition)
  const places = new Set(own.map((letter) => letter.parked.record.offset))
  for (const one of parked) {
    if (!places.has(one.record.offset)) letters.push({ partition, parked: one, resolution: null })
  }
  move(mark, judged, wanted)
}

function knownOf({ letters, handled }: Tables, partition: number, judged: readonly Judgement[]): Known {
  const own = letters.filter((letter) => letter.partition === partition)
  const waiting = own.filter(({ resolution, parked }) => resolution === null && parked.blocksKey)
  const blocked = new Set(waiting.flatMap(({ parked }) => parked.record.key ?? []))
  const resolved = own.filter(({ resolution }) => resolution !== null)
  return {
    blocked,
    resolved: new Set(resolved.map(({ parked }) => parked.record.offset)),
    handled: new Set(suspectsOf(judged, blocked).flatMap(({ id }) => (handled.has(id) ? id : []))),
  }
}

/** What the planted bugs commit before the work, in a transaction of its own. @returns what is left to do. */
function handleHalf(tables: Tables, batch: Batch): () => void {
  const mark = markOf(tables, batch.partition)
  const wanted = batch.records.filter(({ offset }) => offset >= mark.nextOffset)
  const judged = judgedOf(tables, { ...batch, records: wanted })
  const events = judged.flatMap((one) => (one.kind === 'event' ? [one.event] : []))
  const fresh = tables.bugs.rememberFirst ? apply(tables, events, { work: false }) : undefined
  move(mark, judged, wanted)
  return () => {
    if (fresh) apply(tables, fresh, { remember: false })
    else apply(tables, events)
  }
}

/** Applies what is parked, key by key and in order, and gives up what cannot be read. */
function redriveAll(tables: Tables): void {
  const { letters } = tables
  for (const letter of letters) {
    const isReadable = decode(letter.parked.record).kind === 'event'
    if (letter.resolution === null && !isReadable) letter.resolution = 'discarded'
  }
  const waiting = letters.filter(({ resolution }) => resolution === null)
  waiting.sort((a, b) => a.partition - b.partition || Number(a.parked.record.offset - b.parked.record.offset))
  const ms = nowMs(tables)
  for (const key of new Set(waiting.map(({ parked }) => parked.record.key))) {
    const queue = waiting.filter(({ parked }) => parked.record.key === key)
    const asked = queue.map((letter, i) => ({ ...queued(letter, i, ms), selected: true }))
    const { movable } = movableOf(asked, { horizon, nowMs: ms, force: false })
    apply(
      tables,
      movable.map(({ event }) => event),
    )
    for (const letter of queue.slice(0, movable.length)) letter.resolution = 'redriven'
  }
}

function queued({ partition, parked }: Letter, i: number, ms: number): Omit<QueuedLetter, 'selected'> {
  const { record, reason, detail, eventId, eventType, blocksKey, attempts = 0 } = parked
  const { offset, key } = record
  return {
    ...{
      id: BigInt(i),
      topic: 'catalog-events',
      partition,
      offset,
      key,
      eventId,
      eventType,
      reason,
      detail,
      attempts,
    },
    ...{ blocksKey, parkedAt: new Date(ms), copiedAt: null, resolvedAt: null, resolution: null, record },
  }
}
