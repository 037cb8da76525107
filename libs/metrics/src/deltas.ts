import { type LikeEvent, uuidV7TimeMs } from '@likewise/events'

const minuteMs = 60_000
const aheadMaxMs = 86_400_000

/** What events of one product and one minute change. */
export interface Delta {
  readonly productId: number
  /** Whole minutes since 1970, UTC. */
  readonly minute: number
  readonly added: number
  readonly removed: number
}

/**
 * When it happened: `createdAt`, which whoever publishes sends byte for byte as it was committed with the like.
 *
 * Any past is believed (old likes may be imported), for it harms nobody. A future is believed for a day: what a clock
 * gone wrong or a joker puts into the year 9999 would be ahead of every question for ever. Then the id's own time
 * stands in, which the inbox has judged by the database's clock.
 */
export function eventTimeMs({ id, data }: { id: string; data: { createdAt: string } }): number {
  const saidMs = Date.parse(data.createdAt)
  const madeMs = uuidV7TimeMs(id) ?? saidMs
  return saidMs > madeMs + aheadMaxMs ? madeMs : saidMs
}

/** What the events change, in the order (product, minute): rows locked in one order cannot deadlock. Pure. */
export function deltasOf(events: readonly LikeEvent[]): Delta[] {
  const products = new Map<number, Map<number, { added: number; removed: number }>>()
  for (const event of events) {
    const { productId } = event.data
    const minute = Math.floor(eventTimeMs(event) / minuteMs)
    let minutes = products.get(productId)
    if (!minutes) products.set(productId, (minutes = new Map<number, { added: number; removed: number }>()))
    let delta = minutes.get(minute)
    if (!delta) minutes.set(minute, (delta = { added: 0, removed: 0 }))
    delta[event.type === 'catalog.like.added.v1' ? 'added' : 'removed'] += 1
  }
  return [...products]
    .sort(([a], [b]) => a - b)
    .flatMap(([productId, minutes]) =>
      [...minutes].sort(([a], [b]) => a - b).map(([minute, delta]) => ({ productId, minute, ...delta })),
    )
}
