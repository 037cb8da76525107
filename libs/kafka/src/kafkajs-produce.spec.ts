import { createRequire } from 'node:module'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type Message, type ProduceOptions, encodeProduce, encodeRecord } from './kafkajs-produce.ts'

type Bytes = { buffer: Buffer }
const load = createRequire(import.meta.url)
const recordByKafkajs = load('kafkajs/src/protocol/recordBatch/record/v0') as (
  message: Message & { offsetDelta: number; timestampDelta: number },
) => Bytes
const produceByKafkajs = load('kafkajs/src/protocol/requests/produce/v7/request') as (
  options: ProduceOptions,
) => { encode: () => Promise<Bytes> }

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
)
const message: fc.Arbitrary<Message> = fc.record({
  key: fc.option(text),
  value: fc.option(text),
  headers: fc.dictionary(
    fc.string({ unit: 'grapheme', maxLength: 30 }).filter((name) => name !== '__proto__'),
    fc.oneof(text, fc.array(text, { maxLength: 3 })),
    { maxKeys: 10, noNullPrototype: true },
  ),
})

describe('a record that is encoded in one buffer', () => {
  it('has the bytes that kafkajs gives it', () => {
    fc.assert(
      fc.property(message, fc.nat({ max: 100_000 }), (record, offsetDelta) => {
        const { buffer } = recordByKafkajs({ ...record, offsetDelta, timestampDelta: 0 })
        expect(encodeRecord(record, offsetDelta).buffer.equals(buffer)).toBe(true)
      }),
    )
  })

  it('has them also where it is large, or has no headers', () => {
    for (const record of [
      { key: 'k', value: 'ä'.repeat(1_000_000), headers: { a: 'b'.repeat(20_000) } },
      { key: null, value: null },
    ]) {
      const { buffer } = recordByKafkajs({ ...record, offsetDelta: 0, timestampDelta: 0 })
      expect(encodeRecord(record, 0).buffer.equals(buffer)).toBe(true)
    }
  })
})

/** The request without each batch's times, and the checksum over them. */
function withoutClock(request: Buffer, topicData: ProduceOptions['topicData']): Buffer {
  const bytes = Buffer.from(request)
  let at = 2 + 2 + 4 + 4 // transactional id, acks, timeout, topics
  for (const { topic, partitions } of topicData) {
    at += 2 + Buffer.byteLength(topic) + 4
    partitions.forEach(() => {
      const batch = at + 8
      bytes.fill(0, batch + 17, batch + 21)
      bytes.fill(0, batch + 27, batch + 43)
      at = batch + bytes.readInt32BE(at + 4)
    })
  }
  expect(at).toBe(bytes.length)
  return bytes
}

describe('a send that is encoded so', () => {
  it('is the request that kafkajs makes, of several topics and partitions', async () => {
    const partitions = fc.array(
      fc.record({
        partition: fc.nat({ max: 11 }),
        firstSequence: fc.constant(0),
        messages: fc.array(message, { minLength: 1, maxLength: 5 }),
      }),
      { minLength: 1, maxLength: 3 },
    )
    const topicData = fc.array(fc.record({ topic: fc.string({ minLength: 1, maxLength: 20 }), partitions }), {
      minLength: 1,
      maxLength: 2,
    })
    await fc.assert(
      fc.asyncProperty(topicData, async (data) => {
        const options = { acks: -1, timeout: 30_000, producerId: -1, producerEpoch: 0, compression: 0 }
        const theirs = await produceByKafkajs({ ...options, topicData: data }).encode()
        const ours = (await encodeProduce({ ...options, topicData: data })) as unknown as Bytes
        expect(withoutClock(ours.buffer, data)).toEqual(withoutClock(theirs.buffer, data))
      }),
    )
  })
})
