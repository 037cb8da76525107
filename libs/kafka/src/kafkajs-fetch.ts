import { createRequire } from 'node:module'
import { type FetchedRecord, type RecordBatch, readRecords } from './fetched-record.ts'

/** As kafkajs reads an answer. */
interface Decoder {
  offset: number
  readonly buffer: Buffer
  readInt16(): number
  readInt32(): number
  readInt64(): bigint
  readString(): string
  readBytes(length: number): Buffer
  canReadBytes(length: number): boolean
  readArray<T>(read: (decoder: Decoder) => T): T[]
  readArrayAsync<T>(read: (decoder: Decoder) => Promise<T>): Promise<T[]>
}
export interface FetchResponse {
  decode: (bytes: Buffer) => Promise<unknown>
  parse: (decoded: unknown) => Promise<unknown>
}
interface Definition {
  protocol: (options: { version: number }) => (options: unknown) => { response: FetchResponse }
}

const load = createRequire(import.meta.url)
const DecoderClass = load('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => Decoder
const decodeAsShipped = load('kafkajs/src/protocol/requests/fetch/v4/decodeMessages') as (
  decoder: Decoder,
) => Promise<unknown[]>
const { lookupCodecByAttributes } = load('kafkajs/src/protocol/message/compression') as {
  lookupCodecByAttributes: (attributes: number) => { decompress: (bytes: Buffer) => Promise<Buffer> } | null
}
const definition = load('kafkajs/src/protocol/requests/fetch') as Definition
const protocolAsShipped = definition.protocol

/** The first version of the answer that may hold record batches; every broker since 0.11 has it. */
const firstVersion = 4

/**
 * Lets kafkajs read fetched records as they lie, in this process and for good (docs/decisions/0011-records-as-they-lie.md).
 * What else an answer holds is decoded as by kafkajs, and old message formats are by kafkajs itself.
 */
export function quickenFetch(): void {
  definition.protocol = ({ version }) => {
    const make = protocolAsShipped({ version })
    if (version < firstVersion) return make
    return (options) => {
      const made = make(options)
      return { ...made, response: { ...made.response, decode: (bytes) => decodeFetch(bytes, version) } }
    }
  }
}

/** As kafkajs' requests/fetch/v4 to v11, but for the records. */
export async function decodeFetch(bytes: Buffer, version: number): Promise<unknown> {
  const decoder = new DecoderClass(bytes)
  const throttleTime = decoder.readInt32()
  const session = version >= 7 && { errorCode: decoder.readInt16(), sessionId: decoder.readInt32() }
  const responses = await decoder.readArrayAsync(async () => ({
    topicName: decoder.readString(),
    partitions: await decoder.readArrayAsync(() => decodePartition(decoder, version)),
  }))
  // From version 8 on it is the client that waits, as kafkajs says there.
  const throttle = version >= 8 ? { throttleTime: 0, clientSideThrottleTime: throttleTime } : { throttleTime }
  return { ...throttle, ...session, responses }
}

async function decodePartition(decoder: Decoder, version: number) {
  const head = {
    partition: decoder.readInt32(),
    errorCode: decoder.readInt16(),
    highWatermark: decoder.readInt64().toString(),
    lastStableOffset: decoder.readInt64().toString(),
  }
  const start = version >= 5 && { lastStartOffset: decoder.readInt64().toString() }
  const abortedTransactions = decoder.readArray(() => ({
    producerId: decoder.readInt64().toString(),
    firstOffset: decoder.readInt64().toString(),
  }))
  const replica = version >= 11 && { preferredReadReplica: decoder.readInt32() }
  return { ...head, ...start, abortedTransactions, ...replica, messages: await decodeMessages(decoder) }
}

// Of a record batch: where what stands, and where the records begin.
const at = {
  length: 8,
  magic: 16,
  attributes: 21,
  firstTime: 27,
  maxTime: 35,
  producerId: 43,
  count: 57,
  records: 61,
}
const batchFormat = 2
const flags = { appendTime: 0x08, transaction: 0x10, control: 0x20 }

async function decodeMessages(decoder: Decoder): Promise<unknown[]> {
  const begun = decoder.offset
  const size = decoder.readInt32()
  if (
    size < at.records ||
    !decoder.canReadBytes(size) ||
    decoder.buffer[decoder.offset + at.magic] !== batchFormat
  ) {
    decoder.offset = begun
    return decodeAsShipped(decoder)
  }
  let left = decoder.readBytes(size)
  const records: FetchedRecord[] = []
  // What a fetch brings is cut by bytes: its last batch may lack its end.
  while (left.length >= at.records) {
    const end = at.length + 4 + left.readInt32BE(at.length)
    if (end > left.length || left[at.magic] !== batchFormat) break
    if (end < at.records) throw new RangeError(`A record batch says that it has ${end} bytes.`)
    for (const record of await decodeBatch(left.subarray(0, end))) records.push(record)
    left = left.subarray(end)
  }
  return records
}

async function decodeBatch(bytes: Buffer): Promise<FetchedRecord[]> {
  const attributes = bytes.readInt16BE(at.attributes)
  const timeMs = (place: number) => Number(bytes.readBigInt64BE(place))
  const batch: RecordBatch = {
    firstOffset: bytes.readBigInt64BE(0),
    firstTimeMs: timeMs(at.firstTime),
    appendTimeMs: attributes & flags.appendTime ? timeMs(at.maxTime) : null,
    producerId: bytes.readBigInt64BE(at.producerId).toString(),
    inTransaction: (attributes & flags.transaction) > 0,
    isControlBatch: (attributes & flags.control) > 0,
  }
  const codec = lookupCodecByAttributes(attributes)
  const records = bytes.subarray(at.records)
  return readRecords(codec ? await codec.decompress(records) : records, bytes.readInt32BE(at.count), batch)
}
