import type { IncomingRecord } from './batch.ts'

/** What the records of one record batch have in common. */
export interface RecordBatch {
  readonly firstOffset: bigint
  readonly firstTimeMs: number
  /** Set where the broker's time of the append counts: it is that of all records. */
  readonly appendTimeMs: number | null
  /** What kafkajs asks of each record's batch, to pass over what was not committed. */
  readonly producerId: string
  readonly inTransaction: boolean
  /** Its records are markers of the broker's, for no reader. */
  readonly isControlBatch: boolean
}

/** A place in bytes, moved by who reads there. */
interface Cursor {
  readonly bytes: Buffer
  at: number
}

/**
 * A record as it lies in the bytes of its fetch: value and headers are made when they are asked for, each time anew. kafkajs
 * makes some thirty objects of one of our records, of all before the first batch of a fetch is handled.
 */
export class FetchedRecord implements IncomingRecord {
  readonly offset: bigint
  readonly timeMs: number
  readonly key: string | null
  /** In kafkajs's words. */
  readonly batchContext: RecordBatch
  private readonly bytes: Buffer
  private readonly valueAt: number
  private readonly valueLength: number

  /** Takes what stands at the cursor, behind the record's length. */
  constructor(cursor: Cursor, batch: RecordBatch) {
    const { bytes } = cursor
    cursor.at += 1 // attributes: none are defined
    const time = readVarlong(cursor)
    this.timeMs = batch.appendTimeMs ?? batch.firstTimeMs + time
    this.offset = batch.firstOffset + BigInt(readVarint(cursor))
    const keyLength = readVarint(cursor)
    this.key = keyLength < 0 ? null : bytes.toString('utf8', cursor.at, cursor.at + keyLength)
    cursor.at += Math.max(0, keyLength)
    this.valueLength = readVarint(cursor)
    this.valueAt = cursor.at
    this.batchContext = batch
    this.bytes = bytes
  }

  /** In kafkajs's words. */
  get isControlRecord(): boolean {
    return this.batchContext.isControlBatch
  }

  get value(): Buffer | null {
    return this.valueLength < 0 ? null : this.bytes.subarray(this.valueAt, this.headersAt)
  }

  get headers(): IncomingRecord['headers'] {
    const cursor = { bytes: this.bytes, at: this.headersAt }
    const headers: IncomingRecord['headers'] = {}
    const count = readVarint(cursor)
    for (let i = 0; i < count; i += 1) {
      const name = readName(cursor, i)
      addHeader(headers, name, readBytes(cursor))
    }
    return headers
  }

  private get headersAt(): number {
    return this.valueAt + Math.max(0, this.valueLength)
  }
}

/** @throws {RangeError} where the records do not lie within the bytes, as the broker has made sure they do. */
export function readRecords(bytes: Buffer, count: number, batch: RecordBatch): FetchedRecord[] {
  const records: FetchedRecord[] = []
  const cursor = { bytes, at: 0 }
  for (let i = 0; i < count; i += 1) {
    const length = readVarint(cursor)
    const end = cursor.at + length
    records.push(new FetchedRecord(cursor, batch))
    if (cursor.at > end || end > bytes.length) throw new RangeError('A record ends behind its batch.')
    cursor.at = end
  }
  return records
}

function addHeader(headers: IncomingRecord['headers'], name: string, value: Buffer | null): void {
  const there = Object.hasOwn(headers, name) ? headers[name] : undefined
  const all = there === undefined ? value : Array.isArray(there) ? [...there, value] : [there, value]
  // A header may be called __proto__, and is a header like any other.
  if (!(name in Object.prototype)) headers[name] = all
  else Object.defineProperty(headers, name, { value: all, enumerable: true, writable: true, configurable: true }) // prettier-ignore
}

/** The names of the record before, by their place: mostly they are those of the next one. */
const lastNames: { bytes: Buffer; text: string }[] = []
const namesKeptMax = 16

function readName(cursor: Cursor, place: number): string {
  const { bytes } = cursor
  const length = Math.max(0, readVarint(cursor))
  const from = cursor.at
  cursor.at += length
  const last = lastNames[place]
  if (last?.bytes.length === length && isSame(last.bytes, bytes, from)) return last.text
  const own = Buffer.from(bytes.subarray(from, cursor.at))
  const text = own.toString('utf8')
  if (place < namesKeptMax) lastNames[place] = { bytes: own, text }
  return text
}

function isSame(name: Buffer, bytes: Buffer, from: number): boolean {
  for (let i = 0; i < name.length; i += 1) if (name[i] !== bytes[from + i]) return false
  return true
}

function readBytes(cursor: Cursor): Buffer | null {
  const length = readVarint(cursor)
  if (length < 0) return null
  const from = cursor.at
  cursor.at += length
  return cursor.bytes.subarray(from, cursor.at)
}

/** Kafka's zigzag varint of 32 bits, of five bytes at most. */
function readVarint(cursor: Cursor): number {
  let value = 0
  for (let shift = 0; ; shift += 7) {
    const byte = byteAt(cursor, shift, 28)
    value |= (byte & 127) << shift
    if (byte < 128) return (value >>> 1) ^ -(value & 1)
  }
}

/** Of 64 bits: exact up to 2^53, in milliseconds the year 285,000. */
function readVarlong(cursor: Cursor): number {
  let value = 0
  for (let shift = 0; ; shift += 7) {
    const byte = byteAt(cursor, shift, 63)
    value += (byte & 127) * 2 ** shift
    if (byte < 128) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
}

function byteAt(cursor: Cursor, shift: number, shiftMax: number): number {
  const byte = cursor.bytes[cursor.at]
  if (byte === undefined || shift > shiftMax) throw new RangeError('A record ends in the middle of a number.')
  cursor.at += 1
  return byte
}
