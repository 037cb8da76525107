import { type Tx, sql } from '@likewise/database'
import type { LikeEvent } from '@likewise/events'

/** What the events change, per product, in product order: rows locked in one order cannot deadlock. Pure. */
export function deltasOf(events: readonly LikeEvent[]): { productId: number; delta: number }[] {
  const deltas = new Map<number, number>()
  for (const { type, data } of events) {
    const delta = type === 'catalog.like.added.v1' ? 1 : -1
    deltas.set(data.productId, (deltas.get(data.productId) ?? 0) + delta)
  }
  return [...deltas]
    .map(([productId, delta]) => ({ productId, delta }))
    .sort((a, b) => a.productId - b.productId)
}

/** Adds the events to the like counts. Never clamped: see the migration. */
export async function applyToProductMetrics(tx: Tx, events: readonly LikeEvent[]): Promise<void> {
  const deltas = deltasOf(events)
  await tx.execute(sql`
    insert into metrics.product_metrics as m (product_id, like_count, updated_at)
    select product_id, delta, now()
    from unnest(${deltas.map((d) => d.productId)}::bigint[], ${deltas.map((d) => d.delta)}::bigint[])
      as changed(product_id, delta)
    order by product_id
    on conflict (product_id) do update
      set like_count = m.like_count + excluded.like_count, updated_at = excluded.updated_at`)
}
