import { randomBytes, randomUUID } from 'node:crypto'
import { type Database, sql } from '@likewise/database'
import type { TestDatabase } from '@likewise/database/testing'
import { encode } from '@likewise/events'
import {
  type FinishedModel,
  type InboxRecord,
  type LogPiece,
  type Rebuild,
  type RedriveAction,
  beginRebuild,
  compareRebuild,
  discard,
  entryOf,
  handleBatch,
  readMarks,
  readRebuildOffsets,
  redrive,
  stepRebuild,
  switchRebuild,
  takeSnapshot,
} from '@likewise/inbox'
import { type Differences, applyToProductMetrics, buildShadow, saveModel } from '@likewise/metrics'

const dayMs = 86_400_000
export const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }
export const model: FinishedModel<Differences> = buildShadow({ minutesKeptHours: 48, hoursKeptDays: 90 })
const topic = 'catalog-events'
const partitions = 2

/** What two models that say the same differ in. */
export const same = { products: 0, buckets: 0, counts: [], windows: [] }
export const broken = { value: Buffer.from('{"userId":') }
export const products = [1, 2, 3, 4]

/** As a version that can read what an older one could not. */
export const mendAll = (db: Database) =>
  db.execute(sql`
    update metrics.dead_letters set record_value = convert_to(format(
      '{"userId":7,"productId":%s,"createdAt":"2026-11-22T09:14:05Z"}', record_key), 'UTF8')
    where resolved_at is null and reason = 'not_json'`)

/** A UUID v7 made at that time. */
export function idAt(ms: number): string {
  const hex = Math.floor(ms).toString(16).padStart(12, '0')
  const random = randomBytes(9).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(6, 18)}`
}

export interface Sent {
  readonly product: number
  readonly liked?: boolean
  readonly id?: string
  /** When it happened. */
  readonly atMs?: number
  readonly change?: Partial<InboxRecord>
}

/** A record without its place. */
export function recordOf({
  product,
  liked = true,
  id = idAt(Date.now()),
  atMs = Date.now(),
}: Omit<Sent, 'change'>) {
  const type = liked ? 'catalog.like.added.v1' : 'catalog.like.removed.v1'
  const time = new Date(atMs).toISOString()
  const data = { userId: 1, productId: product, createdAt: time }
  const { key, value, headers } = encode({ type, source: '/test', id, time, data })
  return { key, value: Buffer.from(value), headers }
}

/** A log in memory with a consumer that handles it, and a rebuild of its model. */
export interface World {
  readonly db: Database
  readonly consumer: string
  /** By partition. */
  readonly log: InboxRecord[][]
  send(sent: Sent): InboxRecord
  /** The consumer handles all there is, or so much of each partition. */
  handle(upTo?: number): Promise<void>
  redrive(selection: RedriveAction['selection'], force?: boolean): Promise<void>
  discard(selection: RedriveAction['selection']): Promise<void>
  snapshot(): Promise<bigint>
  begin(snapshotId?: bigint): Promise<Rebuild>
  /** Counts so many records of each partition more, never beyond the marks. */
  step(rebuild: Rebuild, count?: number): Promise<void>
  compare(rebuild: Rebuild): Promise<Differences | 'not yet'>
  /** `meanwhile`: after the two were compared, before the live one stands still. */
  switch(rebuild: Rebuild, meanwhile?: () => Promise<unknown>): Promise<Differences | 'not yet'>
  count(product: number): Promise<number>
}

const all = async (moves: AsyncGenerator) => {
  while (!(await moves.next()).done);
}

export function worldOf(test: TestDatabase): World {
  const db = test.as('likewise_operator')
  const consumer = `test-${randomUUID()}`
  const log: InboxRecord[][] = Array.from({ length: partitions }, () => [])
  const action = { consumer, actor: 'test', horizon, work: applyToProductMetrics }
  const handled = Array.from({ length: partitions }, () => 0)

  async function step(rebuild: Rebuild, count = Infinity, unsure = false): Promise<void> {
    const marks = await readMarks(db, consumer, topic)
    const next = new Map((await readRebuildOffsets(db)).map((one) => [one.partition, Number(one.nextOffset)]))
    const pieces = marks.flatMap(({ partition, nextOffset }): LogPiece[] => {
      const from = next.get(partition) ?? 0
      const to = Math.min(Number(nextOffset), from + count)
      if (from >= to) return []
      return [{ partition, from: BigInt(from), entries: (log[partition] ?? []).slice(from, to).map(entryOf) }]
    })
    await stepRebuild(db, rebuild, { pieces, model, unsure })
  }

  return {
    db,
    consumer,
    log,
    send({ change = {}, ...sent }) {
      const partition = log[sent.product % partitions] ?? []
      const place = { offset: BigInt(partition.length), timeMs: Date.now() }
      const record = { ...recordOf(sent), ...place, ...change }
      partition.push(record)
      return record
    },
    async handle(upTo = Infinity) {
      for (const [partition, records] of log.entries()) {
        const wanted = records.slice(handled[partition], upTo)
        if (wanted.length === 0) continue
        const batch = { scope: { consumer, topic, partition }, records: wanted, horizon, work: action.work }
        await handleBatch(test.as('likewise_consumer'), batch)
        handled[partition] = Math.max(handled[partition] ?? 0, Math.min(records.length, upTo))
      }
    },
    redrive: (selection, force = false) => all(redrive(db, { ...action, selection, force })),
    discard: (selection) => all(discard(db, { ...action, selection })),
    snapshot: () =>
      db.tx(
        async (tx) => {
          const id = await takeSnapshot(tx, { consumer, topic, takenBy: 'test' })
          await saveModel(tx, id)
          return id
        },
        { isolation: 'RepeatableRead' },
      ),
    begin: (snapshotId) =>
      beginRebuild(db, {
        ...{ consumer, topic, version: 'test', ownerName: 'test', model },
        ...(snapshotId !== undefined && { snapshotId }),
      }),
    step,
    compare: (rebuild) =>
      compareRebuild(db, rebuild, { model, catchUp: () => step(rebuild).then(() => true) }),
    switch: (rebuild, meanwhile) =>
      switchRebuild(db, rebuild, {
        ...{ model, actor: 'test', follow: () => meanwhile?.() ?? Promise.resolve() },
        catchUp: () => step(rebuild, Infinity, true).then(() => true),
      }),
    async count(product) {
      const [row] = await db.query<{ n: number }>(sql`
        select like_count::float8 as n from metrics.product_metrics where product_id = ${product}::bigint`)
      return row?.n ?? 0
    },
  }
}

/** Ends the rebuild there is, whoever had it, and empties all that is about the consumer side. */
export async function emptied(db: Database): Promise<void> {
  await db.execute(sql`
    truncate metrics.dead_letters, metrics.event_handled, metrics.consumer_offsets, metrics.product_metrics,
      metrics.product_like_windows, metrics.product_like_hours, metrics.product_like_days, metrics.inbox_audit,
      metrics.rebuilds, metrics.rebuild_offsets, metrics.rebuild_ids, metrics.rebuild_counts, metrics.rebuild_minutes,
      metrics.rebuild_hours, metrics.rebuild_days, metrics.snapshots cascade`)
}
