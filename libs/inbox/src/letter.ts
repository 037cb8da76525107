import { type Queryable, type Sql, empty, join, sql } from '@likewise/database'
import type { HeaderValue } from '@likewise/events'
import type { InboxRecord } from './judgement.ts'

/** Which dead letters somebody means: those that fit all of it. Nothing: all of the consumer's. */
export interface LetterSelection {
  readonly id?: bigint
  readonly eventId?: string
  readonly key?: string
  readonly reason?: string
  /** From then on. */
  readonly parkedFrom?: Date
  /** Before then. */
  readonly parkedTo?: Date
}

export interface DeadLetter {
  readonly id: bigint
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly key: string | null
  readonly eventId: string | null
  readonly eventType: string | null
  readonly reason: string
  readonly detail: string
  readonly attempts: number
  /** Later events of its key wait behind it. */
  readonly blocksKey: boolean
  readonly parkedAt: Date
  /** When its copy reached the dead-letter topic. */
  readonly copiedAt: Date | null
  readonly resolvedAt: Date | null
  readonly resolution: 'redriven' | 'discarded' | null
}

/** With the record as it came. */
export type WholeLetter = DeadLetter & { readonly record: InboxRecord }

export const letterColumns = sql`id, topic, partition, record_offset as "offset", record_key as key,
  event_id::text as "eventId", event_type as "eventType", reason, detail, attempts, blocks_key as "blocksKey",
  parked_at as "parkedAt", copied_at as "copiedAt", resolved_at as "resolvedAt", resolution`

export const recordColumns = sql`record_value as value, record_headers as headers, record_time as "recordTime"`

/** Bytes of a letter, about; sizes are read without the bytes. */
export const letterBytes = sql`(coalesce(octet_length(record_value), 0) + coalesce(octet_length(record_key), 0)
  + octet_length(record_headers::text))`

/** Letters in memory at a time; one that is larger comes alone. */
const page = { rowsMax: 500, bytesMax: 4_000_000 }

/**
 * The first letters of `places`, as many as may be in memory at a time.
 *
 * @param rows a `select *` from the letters, without its order
 * @param bytes what is read of each
 * @param lock what stands behind the limit: `for update`
 */
export const pageOf = (rows: Sql, places: Sql, { bytes = letterBytes, lock = empty } = {}): Sql => sql`(
    select * from (
      select *, sum(${bytes}) over places as bytes, row_number() over places as place
      from (${rows} order by ${places} limit ${page.rowsMax}::int ${lock}) as page
      window places as (order by ${places})
    ) as sized
    where place = 1 or bytes <= ${page.bytesMax}::bigint
    order by ${places}
  )`

export type LetterRow = DeadLetter & {
  value: Uint8Array | null
  headers: Readonly<Record<string, StoredHeader>>
  recordTime: Date | null
}

type Base64 = string | null
type StoredHeader = Base64 | readonly Base64[]

/** A row as the letter that it keeps, with its record as the broker gave it. */
export function letterOf({ value, headers, recordTime, ...letter }: LetterRow): WholeLetter {
  const record: InboxRecord = {
    offset: letter.offset,
    key: letter.key,
    value,
    headers: Object.fromEntries(Object.entries(headers).map(([name, stored]) => [name, headerOf(stored)])),
    timeMs: recordTime?.getTime() ?? -1,
  }
  return { ...letter, record }
}

function headerOf(stored: StoredHeader): HeaderValue {
  const bytes = (one: Base64) => (one === null ? null : Buffer.from(one, 'base64'))
  return Array.isArray(stored) ? stored.map(bytes) : bytes(stored as Base64)
}

/** A condition on rows of dead_letters, after those on the consumer. */
export function matches({ id, eventId, key, reason, parkedFrom, parkedTo }: LetterSelection): Sql {
  const conditions = [
    id === undefined ? [] : sql`id = ${id}`,
    eventId === undefined ? [] : sql`event_id = ${eventId}::uuid`,
    key === undefined ? [] : sql`record_key = ${key}`,
    reason === undefined ? [] : sql`reason = ${reason}`,
    parkedFrom === undefined ? [] : sql`parked_at >= ${parkedFrom}::timestamptz`,
    parkedTo === undefined ? [] : sql`parked_at < ${parkedTo}::timestamptz`,
  ].flat()
  return conditions.length === 0 ? sql`true` : join(conditions, ' and ')
}

interface Listing {
  readonly consumer: string
  readonly selection?: LetterSelection
  /** Resolved ones as well. */
  readonly all?: boolean
  readonly limit: number
}

/** Dead letters, oldest first, at most `limit` of them, and how many there are. */
export async function listDeadLetters(
  db: Queryable,
  { consumer, selection = {}, all = false, limit }: Listing,
): Promise<{ letters: DeadLetter[]; total: number }> {
  const unresolved = all ? empty : sql`and resolved_at is null`
  const wanted = sql`metrics.dead_letters where consumer = ${consumer} ${unresolved} and ${matches(selection)}`
  const letters = await db.query<DeadLetter>(
    sql`select ${letterColumns} from ${wanted} order by id limit ${limit}::int`,
  )
  if (letters.length < limit) return { letters, total: letters.length }
  const [count] = await db.query<{ total: number }>(sql`select count(*)::float8 as total from ${wanted}`)
  return { letters, total: count?.total ?? letters.length }
}

/** The letters of an event (it may have come several times), or the one of that number, with their records. */
export async function readDeadLetters(
  db: Queryable,
  consumer: string,
  which: { readonly id: bigint } | { readonly eventId: string },
): Promise<WholeLetter[]> {
  const rows = await db.query<LetterRow>(sql`
    select ${letterColumns}, ${recordColumns} from metrics.dead_letters
    where consumer = ${consumer} and ${matches(which)} order by id limit 20`)
  return rows.map(letterOf)
}

/** The first letter that a key waits for, and how many wait in all; null where the key flows. */
export async function readQueue(
  db: Queryable,
  { consumer, topic, key }: { consumer: string; topic: string; key: string },
): Promise<{ head: DeadLetter; waiting: number } | null> {
  const queue = sql`metrics.dead_letters
    where consumer = ${consumer} and topic = ${topic} and record_key = ${key} and resolved_at is null and blocks_key`
  const [head] = await db.query<DeadLetter>(
    sql`select ${letterColumns} from ${queue} order by partition, record_offset limit 1`,
  )
  if (!head) return null
  const [count] = await db.query<{ waiting: number }>(sql`select count(*)::float8 as waiting from ${queue}`)
  return { head, waiting: count?.waiting ?? 1 }
}
