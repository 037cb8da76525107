import type { ProductState } from '@likewise/metrics'
import type { EventStream } from '@likewise/service'

export interface Watcher {
  stream: Pick<EventStream, 'send' | 'end'> | undefined
  /** What the client has seen last, also before it came back. */
  version: string | undefined
  isStale: boolean
}

/** Who watches which product, and what each has been told. */
export function buildWatchers() {
  const products = new Map<number, Set<Watcher>>()

  return {
    productIds: (): number[] => [...products.keys()],

    add(productId: number, watcher: Watcher): void {
      const watchers = products.get(productId) ?? new Set()
      products.set(productId, watchers.add(watcher))
    },

    remove(productId: number, watcher: Watcher): void {
      const watchers = products.get(productId)
      watchers?.delete(watcher)
      if (watchers?.size === 0) products.delete(productId)
    },

    tell({ metrics, version }: ProductState, countedThrough: string | null): void {
      for (const watcher of products.get(metrics.productId) ?? []) {
        if (watcher.version === version && !watcher.isStale) continue
        watcher.version = version
        watcher.isStale = false
        watcher.stream?.send({ event: 'metrics', id: version, data: { ...metrics, countedThrough } })
      }
    },

    /** Once per outage. Metrics follow when it is over, changed or not. */
    tellStale(): void {
      for (const [productId, watchers] of products) {
        for (const watcher of watchers) {
          if (watcher.isStale) continue
          watcher.isStale = true
          watcher.stream?.send({ event: 'stale', data: { productId } })
        }
      }
    },

    endAll(): void {
      for (const watchers of products.values()) for (const { stream } of watchers) stream?.end()
    },
  }
}
