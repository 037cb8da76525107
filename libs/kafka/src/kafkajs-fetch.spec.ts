import { createRequire } from 'node:module'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import type { IncomingRecord } from './batch.ts'
import { recordOf } from './batch.ts'
import { FetchedRecord } from './fetched-record.ts'
import { type FetchResponse, decodeFetch } from './kafkajs-fetch.ts'

interface Encoder {
  readonly buffer: Buffer
  writeInt8(value: number): Encoder
  writeInt16(value: number): Encoder
  writeInt32(value: number): Encoder
  writeInt64(value: bigint): Encoder
  writeString(value: string): Encoder
  writeVarInt(value: number): Encoder
  writeVarLong(value: bigint): Encoder
  writeVarIntBytes(value: Buffer | null): Encoder
  writeVarIntString(value: string): Encoder
  writeBytes(value: Buffer): Encoder
  writeBuffer(value: Buffer): Encoder
}
const load = createRequire(import.meta.url)
const EncoderClass = load('kafkajs/src/protocol/encoder') as new () => Encoder
const Batch = load('kafkajs/src/consumer/batch') as new (...args: unknown[]) => KafkajsBatch
const responseOf = (version: number) =>
  load(`kafkajs/src/protocol/requests/fetch/v${String(version)}/response`) as FetchResponse
const MessageSet = load('kafkajs/src/protocol/messageSet') as (options: unknown) => Encoder

interface KafkajsBatch {
  messages: Parameters<typeof recordOf>[0][]
  firstOffset(): string | null
  lastOffset(): string
  offsetLag(): string
}
interface Told {
  responses: { topicName: string; partitions: (Record<string, unknown> & { messages: Message[] })[] }[]
}
type Message = KafkajsBatch['messages'][number] & { isControlRecord: boolean; batchContext: object }

interface Record_ {
  offsetDelta: number
  timeDelta: bigint
  key: Buffer | null
  value: Buffer | null
  headers: [string, Buffer | null][]
}
interface Batch_ {
  firstOffset: bigint
  attributes: number
  firstTime: bigint
  maxTime: bigint
  producerId: bigint
  records: Record_[]
}

const bytes = fc.uint8Array({ maxLength: 70 }).map((one) => Buffer.from(one))
const name = fc.oneof(
  fc.constantFrom('ce_id', 'ce_type', 'twice', 'constructor', '__proto__', ''),
  fc.string({ unit: 'grapheme', maxLength: 30 }),
)
const record: fc.Arbitrary<Record_> = fc.record({
  offsetDelta: fc.nat({ max: 2 ** 31 - 1 }),
  timeDelta: fc.bigInt({ min: -(2n ** 50n), max: 2n ** 50n }),
  key: fc.option(
    fc.oneof(
      bytes,
      fc.constant(Buffer.alloc(4)),
      fc.string({ unit: 'grapheme' }).map((text) => Buffer.from(text)),
    ),
  ),
  value: fc.option(fc.oneof(bytes, fc.constant(Buffer.alloc(9_000, 'x')))),
  headers: fc.array(fc.tuple(name, fc.option(bytes)), { maxLength: 12 }),
})
const batch: fc.Arbitrary<Batch_> = fc.record({
  firstOffset: fc.bigInt({ min: 0n, max: 2n ** 60n }),
  // gzip or none, append time, of a transaction, markers of one
  attributes: fc.integer({ min: 0, max: 63 }).map((flags) => flags & 0b111001),
  firstTime: fc.bigInt({ min: -1n, max: 2n ** 50n }),
  maxTime: fc.bigInt({ min: -1n, max: 2n ** 50n }),
  producerId: fc.bigInt({ min: -1n, max: 3n }),
  records: fc.array(record, { maxLength: 6 }),
})

function encodeRecord({ timeDelta, offsetDelta, key, value, headers }: Record_): Buffer {
  const inner = new EncoderClass().writeInt8(0).writeVarLong(timeDelta).writeVarInt(offsetDelta)
  inner.writeVarIntBytes(key).writeVarIntBytes(value).writeVarInt(headers.length)
  for (const [header, content] of headers) inner.writeVarIntString(header).writeVarIntBytes(content)
  return new EncoderClass().writeVarInt(inner.buffer.length).writeBuffer(inner.buffer).buffer
}

function encodeBatch({ firstOffset, attributes, firstTime, maxTime, producerId, records }: Batch_): Buffer {
  const plain = Buffer.concat(records.map(encodeRecord))
  const body = new EncoderClass()
    .writeInt32(0)
    .writeInt8(2)
    .writeInt32(0)
    .writeInt16(attributes)
    .writeInt32(0)
    .writeInt64(firstTime)
    .writeInt64(maxTime)
    .writeInt64(producerId)
    .writeInt16(0)
    .writeInt32(0)
    .writeInt32(records.length)
    .writeBuffer(attributes & 1 ? gzipSync(plain) : plain).buffer
  return new EncoderClass().writeInt64(firstOffset).writeInt32(body.length).writeBuffer(body).buffer
}

/** An answer of one topic with these partitions' record sets. */
function encodeAnswer(
  version: number,
  sets: readonly Buffer[],
  aborted: readonly [bigint, bigint][] = [],
): Buffer {
  const answer = new EncoderClass().writeInt32(7)
  if (version >= 7) answer.writeInt16(0).writeInt32(9)
  answer.writeInt32(1).writeString('topic').writeInt32(sets.length)
  sets.forEach((set, partition) => {
    answer
      .writeInt32(partition)
      .writeInt16(0)
      .writeInt64(2n ** 61n)
      .writeInt64(5n)
    if (version >= 5) answer.writeInt64(0n)
    answer.writeInt32(aborted.length)
    for (const [producer, first] of aborted) answer.writeInt64(producer).writeInt64(first)
    if (version >= 11) answer.writeInt32(-1)
    answer.writeBytes(set)
  })
  return answer.buffer
}

/** Bytes as text: comparing them one by one takes jest seconds. */
const shown = (value: unknown): unknown =>
  Buffer.isBuffer(value)
    ? `bytes ${value.toString('latin1')}`
    : Array.isArray(value)
      ? value.map(shown)
      : value

const plainOf = ({ offset, timeMs, key, value, headers }: IncomingRecord) =>
  [offset, timeMs, key, shown(value), ...Object.entries(headers).map(([header, one]) => [header, shown(one)])] // prettier-ignore

/** What reaches a batch handler, and what kafkajs itself makes of it, for every partition. */
function batchesOf(told: unknown) {
  const { responses, ...head } = told as Told
  return {
    ...head,
    topics: responses.map(({ topicName, partitions }) => ({
      topicName,
      partitions: partitions.map(({ messages, ...about }) => {
        const made = new Batch(topicName, '3', { messages, ...about })
        return {
          ...about,
          ends: [made.firstOffset(), made.lastOffset(), made.offsetLag()].map(String),
          passedOver: messages.map(({ isControlRecord }) => isControlRecord),
          records: made.messages.map((one) => plainOf(recordOf(one))),
        }
      }),
    })),
  }
}

async function expectSame(answer: Buffer, version: number): Promise<void> {
  const theirs = batchesOf(await responseOf(version).decode(Buffer.from(answer)))
  expect(batchesOf(await decodeFetch(answer, version))).toEqual(theirs)
}

const version = fc.integer({ min: 4, max: 11 })

describe('records that are read as they lie in a fetch', () => {
  it('are the records that kafkajs reads, whatever they hold', async () => {
    const sets = fc.array(fc.array(batch, { maxLength: 3 }), { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(version, sets, async (of, partitions) => {
        await expectSame(
          encodeAnswer(
            of,
            partitions.map((batches) => Buffer.concat(batches.map(encodeBatch))),
          ),
          of,
        )
      }),
    )
  })

  it('are passed over where their transaction was aborted', async () => {
    const aborted = fc.array(fc.tuple(fc.bigInt({ min: 0n, max: 3n }), fc.bigInt({ min: 0n, max: 2n ** 60n })), { maxLength: 3 }) // prettier-ignore
    await fc.assert(
      fc.asyncProperty(
        fc.array(batch, { minLength: 1, maxLength: 4 }),
        aborted,
        async (batches, transactions) => {
          await expectSame(encodeAnswer(11, [Buffer.concat(batches.map(encodeBatch))], transactions), 11)
        },
      ),
    )
  })

  it('end with the last whole batch, where the broker has cut the last one', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(batch, { minLength: 1, maxLength: 3 }), fc.nat(), async (batches, cut) => {
        const first = encodeBatch(batches[0]!)
        const rest = Buffer.concat(batches.slice(1).map(encodeBatch))
        await expectSame(
          encodeAnswer(11, [Buffer.concat([first, rest.subarray(0, cut % (rest.length + 1))])]),
          11,
        )
      }),
    )
  })

  it('lack the last one of a fetch, where its last byte is missing', async () => {
    const one = { offsetDelta: 0, timeDelta: 0n, key: null, value: Buffer.from('v'), headers: [] }
    const batchAt = (firstOffset: bigint) => encodeBatch({ firstOffset, attributes: 0, firstTime: 0n, maxTime: 0n, producerId: -1n, records: [one] }) // prettier-ignore
    const both = Buffer.concat([batchAt(5n), batchAt(6n)])
    const answer = encodeAnswer(11, [both.subarray(0, -1)])
    const told = (await decodeFetch(answer, 11)) as Told
    expect(told.responses[0]?.partitions[0]?.messages.map(({ offset }) => offset)).toEqual([5n])
    await expectSame(answer, 11)
  })

  it('are left to kafkajs in the formats of before Kafka 0.11', async () => {
    const messages = [
      { key: 'k', value: 'one', timestamp: 1_700_000_000_000 },
      { key: null, value: 'two' },
    ]
    const set = MessageSet({ messageVersion: 1, compression: 0, entries: messages }).buffer
    const told = (await decodeFetch(encodeAnswer(4, [set]), 4)) as Told
    expect(told.responses[0]?.partitions[0]?.messages).toHaveLength(2)
    expect(told.responses[0]?.partitions[0]?.messages[0]).not.toBeInstanceOf(FetchedRecord)
    await expectSame(encodeAnswer(4, [set, Buffer.alloc(0)]), 4)
  })

  it('are refused as a whole, and none of them skipped, where one does not fit its batch', async () => {
    const whole = {
      offsetDelta: 0,
      timeDelta: 0n,
      key: Buffer.from('k'),
      value: Buffer.from('v'),
      headers: [],
    }
    const broken = encodeBatch({ firstOffset: 0n, attributes: 0, firstTime: 0n, maxTime: 0n, producerId: -1n, records: [whole, whole] }) // prettier-ignore
    for (const length of [2, 40, 120]) {
      broken[61] = length // of the first record: 9 bytes, so 18
      await expect(decodeFetch(encodeAnswer(11, [broken]), 11)).rejects.toThrow(/^A record ends/)
    }
  })
})
