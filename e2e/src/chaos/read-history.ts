import { type Database, sql } from '@likewise/database'
import { decode, shardOf, topics } from '@likewise/events'
import { type KafkaOptions, readGroupPositions } from '@likewise/kafka'
import type {
  CommittedEvent,
  History,
  LogChange,
  LogRecord,
  Request,
  Transaction,
} from '../checker/history.ts'
import { readNextOffsets } from '@likewise/inbox'
import { readUnread } from '../faults/consumer/read-model.ts'
import { eachRecord } from '../order.ts'
import { readUnsettled } from '../faults/delivery.ts'

export interface Sources {
  /** Of both schemas; the effects are noted by `noteSteps`. */
  readonly db: Database
  readonly kafka: KafkaOptions
  readonly kafkaBrokers: string
  readonly group: string
  readonly notes: readonly LogNote[]
}

/** What was done to the topic. The consumer's effects from then on draw a greater number than `step`. */
export type LogNote =
  | { readonly kind: 'partitions added'; readonly step: number; readonly from: number; readonly to: number }
  | { readonly kind: 'made again'; readonly step: number; readonly untilSeq: number }

/** What is not yet published or not yet handled, in sentences. */
export async function readRestless({ db, kafka, group }: Sources): Promise<string[]> {
  const unsettled = await readUnsettled(db)
  const ends = await readGroupPositions(kafka, topics.catalogEvents, group)
  return [...unsettled, ...(await readUnread(db, group, ends))]
}

/** Everything that the checker wants to know. True only while nothing moves. */
export async function readHistory(sources: Sources, requests: readonly Request[]): Promise<History> {
  const { db, kafka, group } = sources
  const [likes, events, transactions, counts, letters] = await Promise.all([
    db.query<{ userId: bigint; productId: bigint }>(
      sql`select user_id as "userId", product_id as "productId" from catalog.likes`,
    ),
    readEvents(db),
    readTransactions(db, group),
    db.query<{ productId: bigint; count: bigint }>(
      sql`select product_id as "productId", like_count as count from metrics.product_metrics`,
    ),
    db.query<{
      partition: number
      offset: bigint
      id: string | null
      reason: string
      resolution: string | null
    }>(sql`
      select partition, record_offset as offset, event_id::text as id, reason, resolution
      from metrics.dead_letters where consumer = ${group} and resolution is distinct from 'redriven'`),
  ])
  const ends = await readGroupPositions(kafka, topics.catalogEvents, group)
  const marks = await readNextOffsets(db, group, topics.catalogEvents)
  return {
    requests,
    likes: likes.map(({ userId, productId }) => ({ userId: Number(userId), productId: Number(productId) })),
    events,
    records: await readLog(sources.kafkaBrokers),
    transactions: transactions.map(({ remembered, changes }) => ({ remembered, changes })),
    logChanges: sources.notes.map((note) => changeOf(note, { events, transactions })),
    counts: counts.map(({ productId, count }) => ({ productId: Number(productId), count: Number(count) })),
    marks: ends.map(({ partition, end }) => {
      return { partition, next: Number(marks.get(partition) ?? 0n), end: Number(end) }
    }),
    letters: letters.map(({ partition, offset, id, reason, resolution }) => {
      return { partition, offset: Number(offset), id, reason, discarded: resolution === 'discarded' }
    }),
  }
}

function changeOf(
  note: LogNote,
  { events, transactions }: { events: readonly CommittedEvent[]; transactions: readonly { step: number }[] },
): LogChange {
  const after = transactions.filter(({ step }) => step <= note.step).length
  if (note.kind === 'made again') return { kind: note.kind, after, untilSeq: note.untilSeq }
  const products = [...new Set(events.map(({ productId }) => productId))]
  const moved = products.filter((id) => shardOf(String(id), note.from) !== shardOf(String(id), note.to))
  return { kind: note.kind, after, moved }
}

async function readEvents(db: Database): Promise<CommittedEvent[]> {
  const rows = await db.query<{
    seq: bigint
    id: string
    status: CommittedEvent['status']
    type: string
    payload: string
  }>(sql`
    select seq, id::text as id, status, event_type as type, payload::text as payload from catalog.outbox_status`)
  return rows.map(({ seq, id, status, type, payload }) => {
    const { userId, productId } = JSON.parse(payload) as { userId: number; productId: number }
    return { seq: Number(seq), id, status, userId, productId, added: isAdded(type) }
  })
}

const isAdded = (type: string): boolean => type === 'catalog.like.added.v1'

async function readLog(kafkaBrokers: string): Promise<LogRecord[]> {
  const records: (LogRecord & { timeMs: number })[] = []
  const newestMs = new Map<number, number>()
  await eachRecord({ kafkaBrokers, topic: topics.catalogEvents, withinMs: 120_000 }, (record) => {
    const decoded = decode(record)
    const { partition, offset } = record
    const event =
      decoded.kind === 'event'
        ? { id: decoded.event.id, added: isAdded(decoded.event.type), ...pairOf(decoded.event.data) }
        : null
    const timeMs = Math.max(record.timeMs, newestMs.get(partition) ?? 0)
    newestMs.set(partition, timeMs)
    records.push({ partition, offset: Number(offset), event, timeMs })
  })
  // By the broker's time: where a key moved, it tells which of its copies was the first.
  return records
    .sort((a, b) => a.timeMs - b.timeMs || a.partition - b.partition || a.offset - b.offset)
    .map(({ partition, offset, event }) => ({ partition, offset, event }))
}

const pairOf = ({ userId, productId }: { userId: number; productId: number }) => ({ userId, productId })

/** What the triggers noted, by transaction, in the order of their first step. */
async function readTransactions(db: Database, group: string): Promise<(Transaction & { step: number })[]> {
  const handled = await db.query<{ xid: string; step: bigint; id: string }>(sql`
    select xid::text as xid, step, event_id::text as id from faults.handled where consumer = ${group}`)
  const counted = await db.query<{
    xid: string
    step: bigint
    productId: bigint
    added: bigint
    removed: bigint
  }>(sql`
    select xid::text as xid, step, product_id as "productId", added, removed from faults.counted`)
  const found = new Map<
    string,
    { step: number; remembered: string[]; changes: Transaction['changes'][number][] }
  >()
  const of = (xid: string, step: bigint) => {
    const one = found.get(xid) ?? { step: Number(step), remembered: [], changes: [] }
    one.step = Math.min(one.step, Number(step))
    found.set(xid, one)
    return one
  }
  for (const { xid, step, id } of handled) of(xid, step).remembered.push(id)
  for (const { xid, step, productId, added, removed } of counted) {
    of(xid, step).changes.push({
      productId: Number(productId),
      added: Number(added),
      removed: Number(removed),
    })
  }
  return [...found.values()].sort((a, b) => a.step - b.step)
}
