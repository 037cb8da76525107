import { sql } from '@likewise/database'
import { topics } from '@likewise/events'
import { type OutgoingRecord, removeGroups } from '@likewise/kafka'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { readRecords } from '../../order.ts'
import { eventually } from '../../system.ts'
import { leave, readMetric } from '../bed.ts'
import { likewise } from '../command-line.ts'
import { ownKafka } from '../own-servers.ts'
import { type ConsumerBed, makeConsumerBed } from './bed.ts'
import { exact } from './effects.ts'
import { likeRecord, likeRecords } from './load.ts'

let broker: Awaited<ReturnType<typeof ownKafka>>
let bed: ConsumerBed
beforeAll(async () => {
  broker = await ownKafka()
}, 120_000)
afterAll(() => broker.remove(), 60_000)
beforeEach(async () => {
  bed = await makeConsumerBed({ kafkaBrokers: broker.server.brokers })
}, 60_000)
afterEach(() => bed.stop(), 60_000)

const bytes = (record: OutgoingRecord): Buffer => Buffer.from(record.value ?? '')
const valued = (value: string | Buffer | null) => (record: OutgoingRecord) => ({ ...record, value })
const changed = (from: string, to: string) => (record: OutgoingRecord) => ({
  ...record,
  value: bytes(record).toString().replace(from, to),
})

interface Bad {
  name: string
  /** The word under which it is kept. */
  reason: string
  spoil: (record: OutgoingRecord) => OutgoingRecord
}

const bad: readonly Bad[] = [
  { name: 'not JSON', reason: 'not_json', spoil: changed('}', '') },
  { name: 'a null value', reason: 'no_value', spoil: valued(null) },
  { name: 'wrong types', reason: 'bad_payload', spoil: changed('"productId":', '"productId":"x","was":') },
  {
    ...{ name: 'an unknown version', reason: 'unknown_type' },
    spoil: (record) => ({ ...record, headers: { ...record.headers, ce_type: 'catalog.like.added.v9' } }),
  },
  {
    ...{ name: 'no id', reason: 'missing_header' },
    spoil: ({ headers: { ce_id: _id, ...headers }, ...record }) => ({ ...record, headers }),
  },
  { name: '__proto__', reason: 'poisoned', spoil: changed('{', '{"__proto__":{"admin":true},') },
  { name: '2 MB', reason: 'bad_payload', spoil: changed('{', `{"note":"${'x'.repeat(2_000_000)}",`) },
  {
    ...{ name: 'invalid UTF-8', reason: 'not_json' },
    spoil: (record) => ({ ...record, value: Buffer.concat([Buffer.from([0xc3, 0x28]), bytes(record)]) }),
  },
]
const reasons = bad.map(({ reason }) => reason)
const keys = bad.length
const counted = (names: readonly string[]): string[] =>
  [...new Set(names)].map((name) => `${name} ${String(names.filter((one) => one === name).length)}`).sort()

describe('bad records', () => {
  it(`(${bad.map(({ name }) => name).join(', ')}) park alone, each with its reason; its key waits in order, all else flows (I4, I8, I9)`, async () => {
    await bed.consumer()
    // Products 1 to 8 have a bad record each between good ones, twice as many have none.
    const good = (first: number) => likeRecords({ first, count: keys * 3, keys: keys * 3 })
    await bed.publisher.publish(good(keys * 3))
    for (const [i, { spoil }] of bad.entries()) {
      await bed.publisher.publish([spoil(likeRecord(keys * 6 + i, i + 1))])
    }
    await bed.publisher.publish([...good(keys * 9), ...good(keys * 12)])

    const parked = counted([...reasons, ...Array.from({ length: keys * 2 }, () => 'behind_parked')])
    const events = keys * 9
    const waiting = { ...exact, events, handled: events - keys * 2, repeats: 0, parked }
    expect(await bed.effects()).toEqual(waiting)
    expect(await bed.peakBytes()).toBeLessThanOrEqual(200_000_000)

    const onTopic = async () => (await readRecords(bed.kafkaBrokers, topics.deadLetters)).map(({ headers }) => String(headers['likewise_dlq_reason'])) // prettier-ignore
    await eventually(async () => counted(await onTopic()).join() === parked.join())

    const settings = { METRICS_DATABASE_URL: bed.databaseUrl, CONSUMER_GROUP: bed.group }
    for (const reason of new Set(reasons))
      await likewise(settings, 'dead-letters', 'discard', '--reason', reason)
    expect(await bed.effects()).toEqual({ ...waiting, handled: events, parked: [] })
  }, 120_000)
})

describe('the topic', () => {
  it('read again from 0, twice: by the offsets and by the ids nothing is counted or parked again (I2, I3)', async () => {
    const first = await bed.consumer()
    const page = likeRecords({ first: 1, count: 300 })
    await bed.publisher.publish([...page, ...page.slice(0, 40)])
    await bed.publisher.publish([{ ...likeRecord(301, 5), value: '{' }, likeRecord(302, 5)])
    const parked = ['behind_parked 1', 'not_json 1']
    const once = { ...exact, events: 301, handled: 300, repeats: 40, parked }
    expect(await bed.effects()).toEqual(once)
    await leave(first)

    await forgetGroup()
    const second = await bed.consumer()
    expect(await bed.effects()).toEqual(once)
    expect(await readMetric(second, 'likewise_inbox_records_total{result="skipped"}')).toBe(342)
    await leave(second)

    await forgetGroup()
    await bed.db.execute(sql`update metrics.consumer_offsets set next_offset = 0, last_event_id = null`)
    const third = await bed.consumer()
    expect(await bed.effects()).toEqual(once)
    expect(await readMetric(third, 'likewise_inbox_records_total{result="duplicate"}')).toBe(340)
  }, 120_000)

  const forgetGroup = () => removeGroups(bed.kafka, [bed.group])
})
