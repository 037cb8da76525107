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

/**
 * Notices a topic that was deleted and made anew, or that lost its end (a broker alone, after a power cut): its offsets
 * go back. A republish mends it; until then it stays written in catalog.outbox_positions.
 *
 * Compared is only with what was acknowledged one round ago: sends of the same moment may answer in any order, where
 * several shards share a partition.
 */
export function watchPositions({ db, log, telemetry, everyMs }: PositionsOptions) {
  const resets = telemetry.counter(
    'likewise_outbox_topic_resets_total',
    'Partitions whose offsets went back: the topic was made anew, or lost its end.',
  )
  const known = new Map<string, bigint>()
  let latest = new Map<string, Position & { reset: boolean }>()

  function note(positions: readonly Position[]): void {
    for (const position of positions) {
      const { topic, partition, baseOffset } = position
      const key = `${topic}/${String(partition)}`
      const [before, last] = [known.get(key), latest.get(key)]
      const reset = before !== undefined && baseOffset < before
      if (reset) {
        known.delete(key) // told once
        resets.inc()
        const facts = { topic, partition, offset: String(baseOffset), expected: `at least ${String(before)}` }
        log.error(
          facts,
          'the topic lost records: run `likewise outbox republish --since <the last good time>`',
        )
      }
      if (reset || last === undefined || baseOffset > last.baseOffset)
        latest.set(key, { ...position, reset: reset || (last?.reset ?? false) })
    }
  }

  async function write(): Promise<void> {
    const seen = [...latest.entries()]
    if (seen.length === 0) return
    latest = new Map()
    try {
      await writePositions(db, seen.map(([, position]) => position)) // prettier-ignore
      for (const [key, { baseOffset }] of seen) known.set(key, baseOffset + 1n)
    } catch (error) {
      for (const [key, position] of seen) if (!latest.has(key)) latest.set(key, position)
      throw error
    }
  }

  let isLoaded = false
  async function exchange(): Promise<void> {
    if (!isLoaded)
      for (const [key, next] of await readPositions(db)) if (!known.has(key)) known.set(key, next)
    isLoaded = true
    await write()
  }

  const stop = repeat(exchange, { pauseMs: () => everyMs, log, failed: 'positions not written' })
  return {
    note,
    async stop(): Promise<void> {
      await stop()
      await write().catch(() => undefined)
    },
  }
}

async function readPositions(db: Queryable): Promise<[string, bigint][]> {
  const rows = await db.query<{ key: string; next: bigint }>(sql`
    select topic || '/' || partition as key, next_offset as next from catalog.outbox_positions`)
  return rows.map(({ key, next }) => [key, next])
}

/** Another relay may have seen more of a partition that changed hands: only a reset takes a position back. */
async function writePositions(
  db: Queryable,
  positions: readonly (Position & { reset: boolean })[],
): Promise<void> {
  await db.execute(sql`
    insert into catalog.outbox_positions as p (topic, partition, next_offset, reset_at)
    select topic, partition, base_offset + 1, case when reset then now() end
    from unnest(${positions.map(({ topic }) => topic)}::text[], ${positions.map(({ partition }) => partition)}::int[],
                ${positions.map(({ baseOffset }) => baseOffset)}::bigint[],
                ${positions.map(({ reset }) => reset)}::boolean[]) as seen(topic, partition, base_offset, reset)
    order by topic, partition
    on conflict (topic, partition) do update
      set next_offset = case when excluded.reset_at is null then greatest(p.next_offset, excluded.next_offset)
                             else excluded.next_offset end,
          reset_at = coalesce(excluded.reset_at, p.reset_at), written_at = now()`)
}
