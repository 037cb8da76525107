import { type Database, sql } from '@likewise/database'
import type { IncomingRecord } from '@likewise/kafka'

/** What a topic and the outbox say about each other once things are quiet. */
export interface Delivery {
  /** Events with a committed row, and those that are on the topic. */
  events: number
  arrived: number
  /** Committed events that are on the topic nowhere (I1). */
  lost: number
  /** Events on the topic without a committed row (I5). */
  unknown: number
  /** First copies that lie behind a later event of their key (I4). */
  outOfOrder: number
  /** Statuses of outbox_status other than PUBLISHED, with their count. */
  unsettled: string[]
  /** Copies after the first. */
  repeats: number
}

/** What must be so after every fault. */
export const delivered = { lost: 0, unknown: 0, outOfOrder: 0, unsettled: [] as string[] }

export type Log = ReturnType<typeof buildLog>

/** What is on the topic, record by record; those of a partition in their order. Keeps numbers only: there may be millions. */
export function buildLog() {
  const seen = new Set<number>()
  const lastOf = new Map<string, number>()
  const told = { outOfOrder: 0, repeats: 0 }

  return {
    told,
    seen,
    note: ({ key, headers }: Pick<IncomingRecord, 'key' | 'headers'>): void => {
      const seq = Number(String(headers['ce_sequence']))
      if (seen.has(seq)) {
        told.repeats += 1
        return
      }
      seen.add(seq)
      const last = lastOf.get(String(key)) ?? 0
      if (seq < last) told.outOfOrder += 1
      lastOf.set(String(key), Math.max(seq, last))
    },
  }
}

/** Compares the topic with the outbox. The load must have one writer: only then does the order of a key rise with seq. */
export async function compare(db: Database, { seen, told }: Log): Promise<Delivery> {
  let [events, arrived] = [0, 0]
  for (const { shard } of await db.query<{ shard: number }>(sql`
    select shard::int as shard from catalog.outbox_leases`)) {
    const rows = await db.query<{ seq: bigint }>(sql`
      select seq from catalog.outbox_events where shard = ${shard}::smallint`)
    events += rows.length
    arrived += rows.filter(({ seq }) => seen.has(Number(seq))).length
  }
  const lost = events - arrived
  return { events, arrived, lost, unknown: seen.size - arrived, ...told, unsettled: await readUnsettled(db) }
}

export async function readUnsettled(db: Database): Promise<string[]> {
  const rows = await db.query<{ status: string; count: bigint }>(sql`
    select status, count(*) as count from catalog.outbox_status where status <> 'PUBLISHED' group by 1 order by 1`)
  return rows.map(({ status, count }) => `${status} ${String(count)}`)
}
