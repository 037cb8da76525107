import type { Change, CommittedEvent, History, LogRecord, Request, Transaction } from './history.ts'

/** What a correct history is made from. Everything in it is the choice of whoever generates it. */
export interface Recipe {
  /** In the order in which they take effect. */
  readonly requests: readonly {
    readonly userId: number
    readonly productId: number
    readonly liked: boolean
    /** How the client hears of it; `lost` ones had their effect, or not. */
    readonly fate: 'answered' | 'lost' | 'lost and undone' | 'refused'
    /** So many of the next requests begin before this one is answered. */
    readonly overlap: number
  }[]
  /** How many records come in each page, and whether the page comes once more. */
  readonly pages: readonly { readonly size: number; readonly isRepeated: boolean }[]
  /** How many records a transaction of the consumer takes. */
  readonly batches: readonly number[]
}

const partitions = 3
const partitionOf = ({ productId }: { productId: number }): number => productId % partitions

/** A history in which every promise is kept, with overlapping requests, lost answers and copies. */
export function correctHistory({ requests: wanted, pages, batches }: Recipe): History {
  const { requests, events, liked } = answered(wanted)
  const records = publish(events, pages)
  const transactions = consume(records, batches)
  const counts = new Map<number, number>()
  for (const { productId, added, removed } of transactions.flatMap(({ changes }) => changes)) {
    counts.set(productId, (counts.get(productId) ?? 0) + added - removed)
  }
  return {
    requests,
    likes: [...liked.values()],
    events,
    records,
    transactions,
    counts: [...counts].map(([productId, count]) => ({ productId, count })),
    marks: Array.from({ length: partitions }, (_, partition) => {
      const end = records.filter((record) => record.partition === partition).length
      return { partition, next: end, end }
    }),
    letters: [],
    logChanges: [],
  }
}

function answered(wanted: Recipe['requests']) {
  const liked = new Map<string, { userId: number; productId: number }>()
  const events: CommittedEvent[] = []
  const requests = wanted.map(({ userId, productId, liked: like, fate, overlap }, i): Request => {
    const name = `${userId}/${productId}`
    const isDone = fate === 'answered' || fate === 'lost'
    const changed = isDone && like !== liked.has(name)
    if (changed) {
      const seq = events.length + 1
      events.push({ seq, id: `e${seq}`, userId, productId, added: like, status: 'PUBLISHED' })
      if (like) liked.set(name, { userId, productId })
      else liked.delete(name)
    }
    // It takes effect at 10 i + 5; whatever overlaps it begins before that and ends after.
    const request = { userId, productId, liked: like, beganMs: 10 * (i - overlap) + 4 }
    if (fate === 'answered') return { ...request, endedMs: 10 * (i + overlap) + 6, answer: 'done', changed }
    if (fate === 'refused') return { ...request, endedMs: 10 * i + 6, answer: 'refused' }
    return { ...request, answer: 'unknown' }
  })
  return { requests, events, liked }
}

function publish(events: readonly CommittedEvent[], pages: Recipe['pages']): LogRecord[] {
  const ends = Array.from({ length: partitions }, () => 0)
  const append = (event: CommittedEvent): LogRecord => {
    const partition = partitionOf(event)
    const offset = ends[partition] ?? 0
    ends[partition] = offset + 1
    return { partition, offset, event: recordedOf(event) }
  }
  let rest = events
  const records: LogRecord[] = []
  for (let page = 0; rest.length > 0; page += 1) {
    const { size, isRepeated } = pages[page % Math.max(1, pages.length)] ?? { size: 1, isRepeated: false }
    const sent = rest.slice(0, size)
    rest = rest.slice(size)
    records.push(...sent.map(append), ...(isRepeated ? sent.map(append) : []))
  }
  return records
}

const recordedOf = ({ id, userId, productId, added }: CommittedEvent) => ({ id, userId, productId, added })

function consume(records: readonly LogRecord[], batches: readonly number[]): Transaction[] {
  const handled = new Set<string>()
  let rest = records
  const transactions: Transaction[] = []
  for (let batch = 0; rest.length > 0; batch += 1) {
    const size = batches[batch % Math.max(1, batches.length)] ?? 1
    const fresh = rest.slice(0, size).flatMap(({ event }) => {
      if (event === null || handled.has(event.id)) return []
      handled.add(event.id)
      return [event]
    })
    rest = rest.slice(size)
    transactions.push(transactionOf(fresh))
  }
  return transactions
}

/** One that remembers these events and counts them. */
export function transactionOf(fresh: readonly (Change & { id: string })[]): Transaction {
  const changes = new Map<number, { productId: number; added: number; removed: number }>()
  for (const { productId, added } of fresh) {
    const change = changes.get(productId) ?? { productId, added: 0, removed: 0 }
    change[added ? 'added' : 'removed'] += 1
    changes.set(productId, change)
  }
  return { remembered: fresh.map(({ id }) => id), changes: [...changes.values()] }
}
