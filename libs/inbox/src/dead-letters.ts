import { type Queryable, type Sql, type Tx, arrayOf, sql } from '@likewise/database'
import type { InboxRecord, Parked } from './judgement.ts'
import type { Scope } from './offsets.ts'

/**
 * Of these keys, the ones that wait for a redrive. Read after the mark's lock, or a redrive could slip between.
 *
 * A redrive locks the marks of the partitions in which the key has letters; where a topic got more partitions, a key's
 * new events come in another one. So a letter of each key is locked as well, which a redrive can then not resolve before
 * this batch has parked what it has behind it; and where a redrive was first, this waits for it and looks again.
 */
export async function readBlockedKeys(
  tx: Queryable,
  scope: Scope,
  keys: readonly string[],
): Promise<Set<string>> {
  if (keys.length === 0) return new Set()
  for (;;) {
    const found = await findBlocking(tx, scope, keys)
    if (found.size === 0) return new Set()
    const held = await tx.query(sql`
      select 1 as held from metrics.dead_letters where id = any (${[...found.values()]}::bigint[]) and resolved_at is null
      order by id for share`)
    if (held.length === found.size) return new Set(found.keys())
  }
}

const rowsAtFirst = 500

/**
 * One of the letters that block each key. Nobody needs to read the 100,000 that wait behind one (58 ms with every batch):
 * as soon as there are more than a few, only the keys that were not met yet are looked for.
 */
async function findBlocking(
  db: Queryable,
  { consumer, topic }: Scope,
  keys: readonly string[],
): Promise<Map<string, bigint>> {
  const found = new Map<string, bigint>()
  for (let [left, limit] = [keys, rowsAtFirst]; left.length > 0; limit *= 2) {
    const rows = await db.query<{ key: string; id: bigint }>(sql`
      select record_key as key, id from metrics.dead_letters
      where consumer = ${consumer} and topic = ${topic} and record_key = any (${left}::text[])
        and resolved_at is null and blocks_key
      limit ${limit}::int`)
    for (const { key, id } of rows) found.set(key, id)
    if (rows.length < limit) break
    left = left.filter((key) => !found.has(key))
  }
  return found
}

/** Whether any of these keys waits for a redrive: what every batch asks, within its own statement. */
export const anyBlocked = (
  { consumer, topic }: Pick<Scope, 'consumer' | 'topic'>,
  keys: readonly string[],
): Sql => sql`
    exists (
      select from metrics.dead_letters
      where consumer = ${consumer} and topic = ${topic} and record_key = any (${arrayOf(keys)}::text[])
        and resolved_at is null and blocks_key
    )`

/** Of these offsets, the ones that were parked before and are resolved: a replay must not park them again. */
export async function readResolvedOffsets(
  tx: Tx,
  { consumer, topic, partition }: Scope,
  offsets: readonly bigint[],
): Promise<Set<bigint>> {
  const rows = await tx.query<{ offset: bigint }>(sql`
    select record_offset as offset from metrics.dead_letters
    where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int
      and record_offset = any (${offsets}::bigint[]) and resolved_at is not null`)
  return new Set(rows.map((row) => row.offset))
}

/** Of these offsets, the ones that were parked, whatever became of them. */
export async function readLetterOffsets(
  tx: Tx,
  { consumer, topic, partition }: Scope,
  offsets: readonly bigint[],
): Promise<Set<bigint>> {
  const rows = await tx.query<{ offset: bigint }>(sql`
    select record_offset as offset from metrics.dead_letters
    where consumer = ${consumer} and topic = ${topic} and partition = ${partition}::int
      and record_offset = any (${offsets}::bigint[])`)
  return new Set(rows.map((row) => row.offset))
}

/** Rows of one insert: what a statement holds in memory at a time is bounded, whatever a poisoned backlog holds. */
const parkedAtOnceMax = 1_000

/** Keeps parked records whole, with the reason. The unique offset makes a repeat a no-op. */
export async function park(
  tx: Tx,
  { consumer, topic, partition }: Scope,
  parked: readonly Parked[],
): Promise<void> {
  for (let from = 0; from < parked.length; from += parkedAtOnceMax) {
    const rows = parked.slice(from, from + parkedAtOnceMax)
    const records = rows.map(({ record }) => record)
    await tx.execute(sql`
      insert into metrics.dead_letters (consumer, topic, partition, record_offset, record_key, record_value,
        record_headers, record_time, event_id, event_type, reason, detail, attempts, blocks_key)
      select ${consumer}, ${topic}, ${partition}::int, p.record_offset, p.key, decode(p.value, 'hex'),
        p.headers::jsonb, to_timestamp(p.time_ms / 1000), p.event_id, p.event_type, p.reason, p.detail, p.attempts,
        p.blocks_key
      from unnest(
        ${records.map(({ offset }) => offset)}::bigint[], ${records.map(({ key }) => storableText(key))}::text[],
        ${records.map(({ value }) => hex(value))}::text[],
        ${records.map((record) => JSON.stringify(headersOf(record)))}::text[],
        ${records.map(({ timeMs }) => storableTime(timeMs))}::float8[],
        ${rows.map(({ eventId }) => eventId)}::uuid[], ${rows.map(({ eventType }) => eventType)}::text[],
        ${rows.map(({ reason }) => reason)}::text[], ${rows.map(({ detail }) => detail)}::text[],
        ${rows.map(({ attempts }) => attempts ?? 1)}::int[], ${rows.map(({ blocksKey }) => blocksKey)}::boolean[]
      ) as p(record_offset, key, value, headers, time_ms, event_id, event_type, reason, detail, attempts, blocks_key)
      on conflict do nothing`)
  }
}

const hex = (value: Uint8Array | null): string | null =>
  value === null ? null : Buffer.from(value.buffer, value.byteOffset, value.length).toString('hex')

/** Dead letters that wait for a decision. */
export async function countDeadLetters(
  db: Queryable,
  consumer: string,
): Promise<{ reason: string; count: bigint; oldest: Date }[]> {
  return db.query(sql`
    select reason, count(*) as count, min(parked_at) as oldest from metrics.dead_letters
    where consumer = ${consumer} and resolved_at is null group by reason order by reason`)
}

type Base64 = string | null

/** Header bytes as base64: they need not be text, and a text column refuses NUL. A header may be without a value. */
function headersOf(record: InboxRecord): Record<string, Base64 | Base64[]> {
  const base64 = (value: Uint8Array | string | null): Base64 =>
    value === null ? null : Buffer.from(value as string).toString('base64')
  return Object.fromEntries(
    Object.entries(record.headers).flatMap(([name, value]) => {
      if (value === undefined) return []
      const many = Array.isArray(value)
        ? (value as readonly (Uint8Array | string | null)[]).map(base64)
        : null
      return [[storableText(name) ?? '', many ?? base64(value as Uint8Array | string | null)]]
    }),
  )
}

/** A record's time is whatever its producer wrote (-1: none); past the year 275760 it is no time we could keep. */
function storableTime(ms: number): number | null {
  return ms >= 0 && ms <= 8.64e15 ? ms : null
}

/** PostgreSQL text holds no NUL. A key with one is nobody's product; it keeps its place under a readable name. */
function storableText(text: string | null): string | null {
  return text === null ? null : text.replaceAll('\u0000', '\uFFFD')
}
