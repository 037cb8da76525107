import { type Tx, sql } from '@likewise/database'
import { type LikeEvent, aggregateType, partitionKeyOf } from '@likewise/events'

/**
 * Runs `work` for the events that have not had their effect yet, in the caller's transaction: the mark and the
 * effect commit together or not at all.
 *
 * Idempotence is an insert, not a question: asking first races with another member that asks at the same moment.
 * Ids are made distinct before the insert (`returning` gives an id once, also where the batch holds it twice) and
 * sorted, so that two members with the same ids wait for each other instead of deadlocking.
 *
 * @returns the events `work` got, in the order given.
 */
export async function handleOnce(
  tx: Tx,
  consumer: string,
  events: readonly LikeEvent[],
  work: (tx: Tx, fresh: readonly LikeEvent[]) => Promise<void>,
): Promise<readonly LikeEvent[]> {
  const distinct = new Map<string, LikeEvent>()
  for (const event of events) if (!distinct.has(event.id)) distinct.set(event.id, event)
  if (distinct.size === 0) return []
  const sorted = [...distinct.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
  const rows = await tx.query<{ ids: string[] | null }>(sql`
    with fresh as (
      insert into metrics.event_handled (consumer, event_id, slot, event_type, aggregate_type, aggregate_id)
      select ${consumer}, e.id, metrics.handled_slot(e.id), e.type, ${aggregateType}, e.aggregate_id
      from unnest(${sorted.map((e) => e.id)}::uuid[], ${sorted.map((e) => e.type)}::text[],
                  ${sorted.map(partitionKeyOf)}::text[]) as e(id, type, aggregate_id)
      on conflict do nothing
      returning event_id
    )
    select array_agg(event_id::text) as ids from fresh`)
  const ids = new Set(rows[0]?.ids ?? [])
  const fresh = [...distinct.values()].filter((event) => ids.has(event.id))
  if (fresh.length > 0) await work(tx, fresh)
  return fresh
}
