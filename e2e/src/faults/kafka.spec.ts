import { sql } from '@likewise/database'
import { ensureTopics, readTopicEnds, removeTopics } from '@likewise/kafka'
import { type NewEvent, enqueue, readResets } from '@likewise/outbox'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { eachRecord } from '../order.ts'
import { eventually } from '../system.ts'
import { type Bed, isWal, makeBed, readMetric, retentionMs } from './bed.ts'
import { likewise as runLikewise } from './command-line.ts'
import { buildLog, compare, delivered, readUnsettled } from './delivery.ts'
import { openLink } from './link.ts'
import { likeOf, likesOf } from './load.ts'

let bed: Bed
beforeEach(async () => {
  bed = await makeBed()
})
afterEach(() => bed.stop())

const likewise = (...args: string[]): Promise<string> =>
  runLikewise({ CATALOG_DATABASE_URL: bed.databaseUrl, METRICS_DATABASE_URL: bed.databaseUrl }, ...args)

const writeLikes = (first: number, count: number) => enqueue(bed.db, likesOf(bed.topic, { first, count }))
const allPublished = () =>
  eventually(async () => (await readUnsettled(bed.db)).length === 0 || pause(200).then(() => false))
const countRecords = async () =>
  (await readTopicEnds(bed.kafka, bed.topic)).reduce((sum, { end }) => sum + Number(end), 0)

describe('the connection to Kafka', () => {
  it('is reset in the middle of a produce, ten times: no event lost, first copies in order (I1, I4, I6)', async () => {
    const link = await openLink(bed.kafkaBrokers)
    try {
      await bed.relay({ kafkaBrokers: link.address, env: { RELAY_PAGE_ROWS: '50' } })
      for (let round = 0; round < 10; round += 1) {
        await allPublished() // from now on, what goes to Kafka is the next pages
        const reset = link.resetAfter(1_000 + round * 3_000)
        await writeLikes(round * 500 + 1, 500)
        await reset
      }
      expect(await bed.delivery()).toMatchObject({ ...delivered, events: 5_000, arrived: 5_000 })
    } finally {
      await link.stop()
    }
  }, 120_000)
})

describe('a record that is larger than the broker takes', () => {
  it('parks with the rest of its key, the others flow, and discarding it frees the key (I4, I9)', async () => {
    await bed.relay()
    await writeLikes(1, 40)
    const large: NewEvent = {
      ...likeOf(bed.topic, 41, '7'),
      payload: JSON.stringify({ userId: 41, productId: 7, note: 'x'.repeat(1_500_000) }),
    }
    await enqueue(bed.db, large)
    await writeLikes(42, 199)
    const behind = likesOf(bed.topic, { first: 42, count: 199 }).filter((event) => event.partitionKey === '7')
    const parked = `PARKED ${String(behind.length + 1)}`

    const waiting = await bed.delivery()
    expect(waiting).toMatchObject({ ...delivered, lost: behind.length + 1, unsettled: [parked] })
    expect(JSON.parse(await likewise('outbox', 'parked', '--json'))).toMatchObject([
      { partitionKey: '7', reason: 'refused', attempts: 3 },
      ...behind.map(() => ({ partitionKey: '7', reason: 'behind' })),
    ])

    const [id] = (JSON.parse(await likewise('outbox', 'parked', '--json')) as { id: string }[]).map(
      (e) => e.id,
    )
    await likewise('outbox', 'discard', '--event', String(id))
    await eventually(async () => (await readUnsettled(bed.db)).join() === 'DISCARDED 1')
    const freed = await bed.delivery()
    expect(freed).toMatchObject({
      ...delivered,
      lost: 1,
      unsettled: ['DISCARDED 1'],
      repeats: waiting.repeats,
    })
  }, 120_000)
})

describe('a topic that is deleted and made again', () => {
  it('is noticed, and `likewise outbox republish` brings back what it held, in order (I1, I4)', async () => {
    const relay = await bed.relay()
    await writeLikes(1, 200)
    await allPublished()
    // The relay writes down every 10 s how far Kafka's offsets had come.
    await eventually(async () => (await countPositions()) === (await readEnds()).size)
    await removeTopics(bed.kafka, [bed.topic])
    await eventually(isMadeAgain)
    await writeLikes(201, 20)
    await allPublished()
    await eventually(async () => (await readMetric(relay, 'likewise_outbox_topic_resets_total')) > 0)
    await eventually(async () => (await readResets(bed.db)).length > 0)
    expect(await likewise('status')).toMatch(
      new RegExp(`${bed.topic}/\\d+ lost records, .*: likewise outbox republish`),
    )

    const before = await readEnds()
    // The ring is read by polling only; from the WAL nothing comes twice.
    if (isWal) await likewise('outbox', 'wal', 'disable')
    expect(await likewise('outbox', 'republish')).toMatch(/^220 events will be published/)
    await eventually(async () => (await countRecords()) >= 20 + 220)
    await allPublished()
    const again = buildLog()
    await eachRecord(bed, (record) => {
      if (record.offset >= (before.get(record.partition) ?? 0n)) again.note(record)
    })
    expect(await compare(bed.db, again)).toEqual({ ...delivered, events: 220, arrived: 220, repeats: 0 })
    expect(await readResets(bed.db)).toEqual([])
  }, 120_000)

  /** Where the next record of each partition that has any will be. */
  const readEnds = async () =>
    new Map(
      (await readTopicEnds(bed.kafka, bed.topic))
        .filter(({ end }) => end > 0n)
        .map(({ partition, end }) => [partition, end]),
    )
  const countPositions = async () => (await bed.db.query(sql`select from catalog.outbox_positions`)).length
  /** A broker knows a deleted topic for a moment longer. */
  const isMadeAgain = () =>
    ensureTopics(bed.kafka, [{ topic: bed.topic, partitions: 12, retentionMs }]).then(
      (made) => made.length > 0,
      () => false,
    )
})
