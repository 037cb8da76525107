import { type Database, type Queryable, sql } from '@likewise/database'
import { type Logger, type Telemetry, repeat } from '@likewise/service'

/** Where the broker put the first record of a send in one partition. */
export interface Position {
  readonly topic: string
  readonly partition: number
  readonly baseOffset: bigint
}

export interface PositionsOptions {
  db: Database
  log: Logger
  telemetry: Telemetry
  /** How often what was seen is written down, and becomes what later sends are compared with. */
  everyMs: number
}

/** A partition whose offsets went back: records that were acknowledged are gone. */
export interface Reset {
  topic: string
  partition: number
  resetAt: Date
}

export const readResets = (db: Queryable): Promise<Reset[]> =>
  db.query<Reset>(sql`
    select topic, partition, reset_at as "resetAt" from catalog.outbox_positions
    where reset_at is not null order by topic, partition`)

interface Seen extends Position {
  /** The first send of the round, where there was nothing to compare it with. */
  readonly unchecked: { readonly offset: bigint; readonly notedMs: number } | undefined
  /** A send came to lie at `offset`, before `expected`, which was acknowledged a round ago; not told yet. */
  readonly wentBack: { readonly offset: bigint; readonly expected: bigint } | undefined
  /** So it did, and is told. */
  readonly reset: boolean
  readonly notedMs: number
}

/**
 * Notices a topic that was deleted and made anew, or that lost its end (a broker alone, after a power cut): its offsets
 * go back. A republish mends it; until then it stays written in catalog.outbox_positions.
 *
 * Compared is only with what was acknowledged one round ago: sends of the same moment may answer in any order, where
 * several shards share a partition. Of partitions that others send to, that is what they wrote down, looked up with every
 * round: a shard may come from any of them. Whether another relay has told it already is looked up before it is told: a
 * shard may come back to one that knows the old topic's offsets.
 */
export function watchPositions({ db, log, telemetry, everyMs }: PositionsOptions) {
  const resets = telemetry.counter(
    'likewise_outbox_topic_resets_total',
    'Partitions whose offsets went back: the topic was made anew, or lost its end.',
  )
  const known = new Map<string, bigint>()
  let latest = new Map<string, Seen>()

  function note(positions: readonly Position[]): void {
    for (const position of positions) {
      const key = `${position.topic}/${String(position.partition)}`
      const [before, last] = [known.get(key), latest.get(key)]
      const { baseOffset: offset } = position
      const isBack = before !== undefined && offset < before
      if (!isBack && last !== undefined && offset <= last.baseOffset) continue
      if (isBack) known.delete(key) // told once
      const wentBack = isBack ? { offset, expected: before } : last?.wentBack
      const notedMs = performance.now()
      const isFirst = before === undefined && last === undefined
      const unchecked = isFirst ? { offset, notedMs } : last?.unchecked
      latest.set(key, { ...position, unchecked, wentBack, reset: last?.reset ?? false, notedMs })
    }
  }

  function told(position: Seen, stored: Stored | undefined): Seen {
    const { topic, partition } = position
    const wentBack = position.wentBack ?? backOf(position, stored)
    const checked = { ...position, unchecked: undefined, wentBack: undefined }
    const isTold = wentBack && stored !== undefined && stored.next <= wentBack.offset
    if (!wentBack || isTold) return checked
    resets.inc()
    const { offset, expected } = wentBack
    const facts = { topic, partition, offset: String(offset), expected: `at least ${String(expected)}` }
    log.error(facts, 'the topic lost records: run `likewise outbox republish --since <the last good time>`')
    return { ...checked, reset: true }
  }

  async function write(stored: ReadonlyMap<string, Stored>): Promise<void> {
    const seen = [...latest].map(([key, position]) => [key, told(position, stored.get(key))] as const)
    if (seen.length === 0) return
    latest = new Map()
    try {
      await writePositions(db, seen.map(([, position]) => position)) // prettier-ignore
      for (const [key, { baseOffset }] of seen) known.set(key, baseOffset + 1n)
    } catch (error) {
      for (const [key, position] of seen) {
        const later = latest.get(key)
        latest.set(key, later ? { ...later, reset: later.reset || position.reset } : position)
      }
      throw error
    }
  }

  async function exchange(): Promise<void> {
    const stored = await readPositions(db)
    for (const [key, { next }] of stored) if (!latest.has(key)) known.set(key, next)
    await write(stored)
  }

  const stop = repeat(exchange, { pauseMs: () => everyMs, log, failed: 'positions not written' })
  return {
    note,
    async stop(): Promise<void> {
      await stop()
      await exchange().catch(() => undefined)
    },
  }
}

/** Where the database has a partition, and when that was written, by this process's clock. */
interface Stored {
  readonly next: bigint
  readonly writtenMs: number
}

async function readPositions(db: Queryable): Promise<Map<string, Stored>> {
  const rows = await db.query<{ key: string; next: bigint; ageMs: number }>(sql`
    select topic || '/' || partition as key, next_offset as next,
           (extract(epoch from clock_timestamp() - written_at) * 1000)::float8 as "ageMs"
    from catalog.outbox_positions`)
  const nowMs = performance.now()
  return new Map(rows.map(({ key, next, ageMs }) => [key, { next, writtenMs: nowMs - ageMs }]))
}

/**
 * A send that could not be compared when it was acknowledged, since the database had not told anything yet: with what had been
 * written down by then, not with what another relay has sent and written since.
 */
function backOf({ unchecked }: Seen, stored: Stored | undefined): Seen['wentBack'] {
  if (!unchecked || !stored || stored.writtenMs >= unchecked.notedMs) return undefined
  return unchecked.offset < stored.next ? { offset: unchecked.offset, expected: stored.next } : undefined
}

/**
 * Another relay may have seen more of a partition that changed hands: only a reset takes a position back. And what was
 * seen before that reset says nothing of the new log, however late it is written.
 */
async function writePositions(db: Queryable, positions: readonly Seen[]): Promise<void> {
  const ages = positions.map(({ notedMs }) => performance.now() - notedMs)
  await db.execute(sql`
    insert into catalog.outbox_positions as p (topic, partition, next_offset, reset_at, written_at)
    select topic, partition, base_offset + 1, case when reset then now() end, now() - age_ms * interval '1 ms'
    from unnest(${positions.map(({ topic }) => topic)}::text[], ${positions.map(({ partition }) => partition)}::int[],
                ${positions.map(({ baseOffset }) => baseOffset)}::bigint[],
                ${positions.map(({ reset }) => reset)}::boolean[], ${ages}::float8[])
      as seen(topic, partition, base_offset, reset, age_ms)
    order by topic, partition
    on conflict (topic, partition) do update
      set next_offset = case when excluded.reset_at is not null then excluded.next_offset
                             when p.reset_at > excluded.written_at then p.next_offset
                             else greatest(p.next_offset, excluded.next_offset) end,
          reset_at = coalesce(excluded.reset_at, p.reset_at), written_at = now()`)
}
