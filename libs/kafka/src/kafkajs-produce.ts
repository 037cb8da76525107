import { createRequire } from 'node:module'
import type { OutgoingHeader } from './connection.ts'

/** What kafkajs makes a record of; `undefined` headers are none. */
export interface Message {
  key: string | Buffer | null
  value: string | Buffer | null
  headers?: Readonly<Record<string, OutgoingHeader>>
}

interface Encoder {
  size(): number
  writeInt16(value: number): Encoder
  writeInt32(value: number): Encoder
  writeString(value: string | null | undefined): Encoder
  writeArray(values: readonly Encoder[]): Encoder
  writeEncoder(value: Encoder): Encoder
}
/** What kafkajs takes for an encoder that is done. */
interface Encoded {
  readonly buf: Buffer
  readonly buffer: Buffer
}
export interface ProduceOptions {
  acks: number
  timeout: number
  transactionalId?: string | null
  producerId: unknown
  producerEpoch: number
  compression: number
  topicData: readonly { topic: string; partitions: readonly PartitionData[] }[]
}
interface PartitionData {
  partition: number
  firstSequence: number
  messages: readonly Message[]
}
type Made = { request: { encode: () => Promise<Encoder> }; response: unknown }
interface Definition {
  protocol: (options: { version: number }) => (options: ProduceOptions) => Made
}

const load = createRequire(import.meta.url)
const EncoderClass = load('kafkajs/src/protocol/encoder') as new () => Encoder
const { RecordBatch } = load('kafkajs/src/protocol/recordBatch/v0') as {
  RecordBatch: (options: Record<string, unknown>) => Promise<Encoder>
}
const definition = load('kafkajs/src/protocol/requests/produce') as Definition
const protocolAsShipped = definition.protocol

/** The first version of the request whose records have headers; every broker since 0.11 takes it. */
const firstVersion = 3

/**
 * Lets kafkajs send with one buffer for each record, in this process and for good. By itself it makes a zero-filled one
 * of 512 bytes for each record and each of its headers: of our records, ten, which is more than half of what sending costs.
 * The bytes are the same; a test compares them. kafkajs 2.2.4 is pinned and has had no release since 2023
 * (docs/decisions/0009-records-in-one-buffer.md).
 */
export function quickenProduce(): void {
  definition.protocol = ({ version }) => {
    const make = protocolAsShipped({ version })
    if (version < firstVersion) return make
    return (options) => {
      const { request, response } = make(options)
      return { request: { ...request, encode: () => encodeProduce(options) }, response }
    }
  }
}

/** As kafkajs' requests/produce/v3, but for the records. A message's own timestamp is not looked at: ours have none. */
export async function encodeProduce({ topicData, ...options }: ProduceOptions): Promise<Encoder> {
  const topics: Encoder[] = []
  for (const { topic, partitions } of topicData) {
    const parts: Encoder[] = []
    for (const data of partitions) parts.push(await encodePartition(data, options))
    topics.push(new EncoderClass().writeString(topic).writeArray(parts))
  }
  return new EncoderClass()
    .writeString(options.transactionalId)
    .writeInt16(options.acks)
    .writeInt32(options.timeout)
    .writeArray(topics)
}

async function encodePartition(
  { partition, firstSequence, messages }: PartitionData,
  { compression, producerId, producerEpoch, transactionalId }: Omit<ProduceOptions, 'topicData'>,
): Promise<Encoder> {
  const nowMs = Date.now()
  const batch = await RecordBatch({
    ...{ compression, producerId, producerEpoch, firstSequence, firstTimestamp: nowMs, maxTimestamp: nowMs },
    transactional: Boolean(transactionalId),
    lastOffsetDelta: messages.length - 1,
    records: messages.map(encodeRecord),
  })
  return new EncoderClass().writeInt32(partition).writeInt32(batch.size()).writeEncoder(batch)
}

/** Kafka's record, format 2: lengths are zigzag varints, -1 where there is nothing. */
export function encodeRecord({ key, value, headers = {} }: Message, offsetDelta: number): Encoded {
  const parts: (string | Buffer)[] = []
  for (const name in headers) {
    const header = headers[name]
    if (header === undefined) continue
    if (Array.isArray(header)) for (const one of header) parts.push(name, one)
    else parts.push(name, header)
  }
  const lengths = parts.map((part) => lengthOf(part))
  const [keyLength, valueLength] = [lengthOf(key), lengthOf(value)]
  let length = 2 + varintSize(offsetDelta) + sizeWith(keyLength) + sizeWith(valueLength)
  length += varintSize(parts.length / 2)
  for (const partLength of lengths) length += sizeWith(partLength)

  const buf = Buffer.allocUnsafe(varintSize(length) + length)
  let at = writeVarint(buf, length, 0)
  buf[at++] = 0 // attributes
  buf[at++] = 0 // timestamp: that of the batch
  at = writeVarint(buf, offsetDelta, at)
  at = writePart(buf, key, { length: keyLength, at })
  at = writePart(buf, value, { length: valueLength, at })
  at = writeVarint(buf, parts.length / 2, at)
  parts.forEach((part, i) => {
    at = writePart(buf, part, { length: lengths[i] ?? 0, at })
  })
  return { buf, buffer: buf }
}

function lengthOf(part: string | Buffer | null): number {
  if (part === null) return -1
  return typeof part === 'string' ? Buffer.byteLength(part) : part.length
}

const sizeWith = (length: number): number => varintSize(length) + Math.max(0, length)

const zigzag = (value: number): number => ((value << 1) ^ (value >> 31)) >>> 0

function varintSize(value: number): number {
  let size = 1
  for (let rest = zigzag(value); rest > 127; rest >>>= 7) size += 1
  return size
}

function writeVarint(buf: Buffer, value: number, at: number): number {
  let rest = zigzag(value)
  for (; rest > 127; rest >>>= 7) buf[at++] = (rest & 127) | 128
  buf[at++] = rest
  return at
}

function writePart(
  buf: Buffer,
  part: string | Buffer | null,
  { length, at }: { length: number; at: number },
): number {
  const from = writeVarint(buf, length, at)
  if (part === null) return from
  if (typeof part === 'string') buf.write(part, from, 'utf8')
  else part.copy(buf, from)
  return from + length
}
