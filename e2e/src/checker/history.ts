/**
 * All that is known of a run once things are quiet: what clients were told, what was committed, what is on the topic, and
 * what the consumer made of it. The checker reads nothing else.
 */
export interface History {
  readonly requests: readonly Request[]
  /** Rows of catalog.likes. */
  readonly likes: readonly Pair[]
  /** Rows of the outbox, with what the relays say of them. */
  readonly events: readonly CommittedEvent[]
  /** Everything on the topic; those of a partition in their order. */
  readonly records: readonly LogRecord[]
  /** What the consumer committed, in the order of its commits. */
  readonly transactions: readonly Transaction[]
  readonly counts: readonly { readonly productId: number; readonly count: number }[]
  readonly marks: readonly Mark[]
  readonly letters: readonly Letter[]
  /** What was done to the topic on purpose, one after the other. */
  readonly logChanges: readonly LogChange[]
}

/**
 * After it the order (I4) cannot be demanded of every event: it says of which not, and from which transaction of the
 * consumer on. `docs/chaos.md` says why.
 */
export type LogChange =
  /** While all ran: what is new of a key that moved is read beside what is old. */
  | { readonly kind: 'partitions added'; readonly after: number; readonly moved: readonly number[] }
  /** Deleted, made anew, all sent again: what was lost with the old log comes behind what was sent meanwhile. */
  | { readonly kind: 'made again'; readonly after: number; readonly untilSeq: number }

export interface Pair {
  readonly userId: number
  readonly productId: number
}

export interface Request extends Pair {
  readonly liked: boolean
  /** By one clock: it orders requests, and says nothing else. */
  readonly beganMs: number
  /** Absent where no answer came. */
  readonly endedMs?: number
  /**
   * `done`: a 2xx. `refused`: for certain nothing happened (4xx). `unknown`: it may have happened, or happen later: 5xx, or
   * no answer.
   */
  readonly answer: 'done' | 'refused' | 'unknown'
  /** What a 2xx said: whether the like was new, or gone by this request. */
  readonly changed?: boolean
}

/** What an event says. */
export interface Change extends Pair {
  readonly added: boolean
}

export interface CommittedEvent extends Change {
  /** Of one (user, product), in the order of their commits: the row lock of the like is held while it is drawn. */
  readonly seq: number
  readonly id: string
  readonly status: 'PENDING' | 'FAILED' | 'PUBLISHED' | 'PARKED' | 'DISCARDED'
}

export interface Place {
  readonly partition: number
  readonly offset: number
}

export interface LogRecord extends Place {
  /** null: it cannot be decoded. */
  readonly event: (Change & { readonly id: string }) | null
}

/** One transaction of the consumer. */
export interface Transaction {
  /** Ids that it remembered as handled. */
  readonly remembered: readonly string[]
  /** What it added to the counts. */
  readonly changes: readonly {
    readonly productId: number
    readonly added: number
    readonly removed: number
  }[]
}

export interface Mark {
  readonly partition: number
  /** The next offset to be read. */
  readonly next: number
  /** The log's end. */
  readonly end: number
}

export interface Letter extends Place {
  readonly id: string | null
  readonly reason: string
  /** It was given up by somebody, and counts for nothing. */
  readonly discarded?: boolean
  /** Something is wrong with it on purpose: that it waits is right. */
  readonly planted?: boolean
}

export const nameOf = ({ userId, productId }: Pair): string => `${userId}/${productId}`

export function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group) group.push(item)
    else groups.set(keyOf(item), [item])
  }
  return groups
}
