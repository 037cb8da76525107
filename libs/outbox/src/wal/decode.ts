import type { OutboxEvent } from '../page.ts'
import { type Relation, readMessage, readTuple } from './pgoutput.ts'

export type Decoded =
  | { kind: 'event'; event: OutboxEvent }
  | { kind: 'commit'; endLsn: bigint }
  /** Nothing to do. */
  | null

export interface Decoder {
  decode(message: Buffer): Decoded
  /** Between the first message of a transaction and its last. */
  inTransaction(): boolean
}

const table = 'catalog.outbox_events'
const columns = [
  'seq',
  'id',
  'event_type',
  'aggregate_id',
  'topic',
  'partition_key',
  'payload',
  'traceparent',
  'headers',
  'created_at',
] as const
type Values = [
  seq: string,
  id: string,
  eventType: string,
  aggregateId: string,
  topic: string,
  partitionKey: string,
  payload: string,
  traceparent: string | null,
  headers: string | null,
  createdAt: string,
]

/** Turns the stream's messages into outbox events, the very same as a poll page has. */
export function outboxDecoder(): Decoder {
  const relations = new Map<number, number[]>()
  const values: (string | null)[] = columns.map(() => null)
  let open = false

  return {
    inTransaction: () => open,
    decode(message) {
      const read = readMessage(message)
      switch (read.kind) {
        case 'insert': {
          const places = relations.get(read.relationId)
          if (!places) return null // another table of the publication
          readTuple(message, places, values)
          return { kind: 'event', event: eventOf(values as Values) }
        }
        case 'begin':
          open = true
          return null
        case 'commit':
          open = false
          return read
        case 'relation':
          if (read.relation.name === table) relations.set(read.relation.id, placesOf(read.relation))
          else relations.delete(read.relation.id)
          return null
        case 'other':
          return null
      }
    },
  }
}

/** For each column of the table, where its value goes. */
function placesOf(relation: Relation): number[] {
  const missing = columns.filter((column) => !relation.columns.includes(column))
  if (missing.length > 0) throw new Error(`${table} has no column ${missing.join(', ')} in its publication.`)
  return relation.columns.map((column) => (columns as readonly string[]).indexOf(column))
}

function eventOf(values: Values): OutboxEvent {
  const [seq, id, eventType, aggregateId, topic, partitionKey, payload, traceparent, headers, createdAt] =
    values
  return {
    seq,
    id,
    eventType,
    aggregateId,
    topic,
    partitionKey,
    payload,
    traceparent,
    headers: headers === null ? null : (JSON.parse(headers) as Record<string, string>),
    createdAt: timestampOf(createdAt),
  }
}

// PostgreSQL leaves out zeros at the end of the fraction, and the whole fraction when it is zero.
const timestamp = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00(?: BC)?$/

/** `2026-11-22 10:11:12.5+00` as the poll page has it: `2026-11-22T10:11:12.500000Z`. */
export function timestampOf(text: string): string {
  const [, date, time, fraction = ''] = timestamp.exec(text) ?? []
  return date && time ? `${date}T${time}.${fraction.padEnd(6, '0')}Z` : text
}
