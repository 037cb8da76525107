import { sql } from '@likewise/database'
import { type StoredEvent, envelopeOf, shardOf, topics } from '@likewise/events'
import { type OutgoingRecord, type Publisher, buildPublisher, readTopicEnds } from '@likewise/kafka'
import { Failure } from '@likewise/service'
import { sendLike } from '../likes.ts'
import { startBeforeProgram } from './before-program.ts'
import type { DemoContext } from './context.ts'
import { readLikeCount } from './like-count.ts'
import { withReleases } from './releases.ts'
import type { StoryResult } from './story.ts'
import { lastRead } from './wait.ts'

const title = 'Duplicates: one like, delivered three times'
const copies = 3
const withinMs = 20_000

/** The very same record three times on Kafka, as after lost answers: how often does it count? */
export async function duplicates(context: DemoContext): Promise<StoryResult> {
  const { metricsApi, kafka, narrate, signal } = context
  narrate.open(
    title,
    'Whoever does not want to lose an event sends it again when an answer is lost, so duplicates are certain to come. ' +
      'Before: a listener counts every record it is given. After: the id of the event is inserted in the ' +
      'transaction that counts, and a copy finds it there.',
  )
  return withReleases(async (defer) => {
    const before = await startBeforeProgram(context, 'count-every-delivery')
    defer(before.stop)
    const publisher = buildPublisher({ ...kafka, sendLimitMs: 5_000 })
    defer(() => publisher.stop())
    const productId = context.newProductId()
    await sendLike(context.likeApis[0], 1, productId)
    const { id, record } = await publishedEvent(context, productId)
    // The relay has sent the first; these are what a relay sends that ended before it could note that.
    let acknowledged = 1
    for (; acknowledged < copies; acknowledged += 1) await publisher.publish([record])
    await publishAll(context, publisher, { ...record, topic: before.topic })

    const passed = await waitForConsumer(context, id, record)
    const after = await readLikeCount(metricsApi, productId)
    const handled = await context.metrics.query(
      sql`select 1 from metrics.event_handled where event_id = ${id}::uuid`,
    )
    const counted = await lastRead(
      () => readLikeCount(before.url, productId),
      (count) => count >= copies,
      { withinMs, signal },
    )
    const sentBefore = await countRecords(context, before.topic)
    const holds = passed && sentBefore === copies && after === 1 && handled.length === 1 && counted === copies
    return {
      kind: 'told',
      title,
      table: {
        head: ['', 'before: count every delivery', 'after: idempotent consumer'],
        rows: [
          ['copies that Kafka acknowledged', String(sentBefore), String(acknowledged)],
          ['rows in metrics.event_handled', '-', String(handled.length)],
          ['like_count', String(counted), String(after)],
        ],
      },
      holds,
      verdict: holds
        ? `Delivered ${copies} times, counted once; the listener without a memory counts ${counted}.`
        : passed
          ? `Expected 1 after and ${copies} before; see the table.`
          : 'The consumer has not read all copies in time.',
    }
  })
}

/** The event of the product's like and its record, byte for byte as the relay has sent it. */
async function publishedEvent(
  { catalog, signal }: DemoContext,
  productId: number,
): Promise<{ id: string; record: OutgoingRecord }> {
  type Row = Omit<StoredEvent, 'headers'> & { topic: string; status: string }
  const rows = await lastRead(
    () =>
      catalog.query<Row>(sql`
        select e.id::text as id, e.event_type as "eventType", e.aggregate_id as "aggregateId", e.topic,
               e.partition_key as "partitionKey", e.payload::text as payload, e.traceparent, e.seq::text as seq,
               to_char(e.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "createdAt", s.status
        from catalog.outbox_events as e
        join catalog.outbox_status as s on s.id = e.id
        where e.aggregate_id = ${String(productId)}`),
    ([row]) => row?.status === 'PUBLISHED',
    { withinMs, signal },
  )
  const [row] = rows
  if (row?.status !== 'PUBLISHED') {
    throw new Failure('BROKER_UNAVAILABLE', `The like of product ${productId} was not published in time.`)
  }
  const envelope = envelopeOf({ ...row, headers: null }, '/like-api')
  return { id: row.id, record: { topic: row.topic, ...envelope } }
}

/** All copies to the program's topic, once that has a leader: it is a moment old. */
async function publishAll({ kafka, signal }: DemoContext, publisher: Publisher, record: OutgoingRecord) {
  await lastRead(
    () => readTopicEnds(kafka, record.topic),
    () => true,
    { withinMs, signal },
  )
  await publisher.publish(Array.from({ length: copies }, () => record))
}

async function countRecords({ kafka }: DemoContext, topic: string): Promise<number> {
  const ends = await readTopicEnds(kafka, topic)
  return ends.reduce((sum, { start, end }) => sum + Number(end - start), 0)
}

/** True once whoever handled the event has read the partition past all its copies. */
async function waitForConsumer(
  { kafka, metrics, signal }: DemoContext,
  eventId: string,
  { key }: OutgoingRecord,
): Promise<boolean> {
  const ends = await readTopicEnds(kafka, topics.catalogEvents)
  const partition = shardOf(key ?? '', ends.length)
  const end = ends.find((one) => one.partition === partition)?.end ?? 0n
  const marks = () =>
    metrics.query<{ nextOffset: bigint }>(sql`
      select o.next_offset as "nextOffset"
      from metrics.event_handled as h
      join metrics.consumer_offsets as o on o.consumer = h.consumer
      where h.event_id = ${eventId}::uuid and o.topic = ${topics.catalogEvents} and o.partition = ${partition}`)
  const behind = (found: readonly { nextOffset: bigint }[]) =>
    found.some(({ nextOffset }) => nextOffset < end)
  const last = await lastRead(marks, (found) => found.length > 0 && !behind(found), { withinMs, signal })
  return last.length > 0 && !behind(last)
}
