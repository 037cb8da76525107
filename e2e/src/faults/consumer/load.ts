import { randomBytes } from 'node:crypto'
import { encode, topics } from '@likewise/events'
import type { OutgoingRecord, Publisher } from '@likewise/kafka'
import { Failure, pause } from '@likewise/service'

export interface TopicLoad {
  /** Ends it; resolves to the number of distinct events, all of which are on the topic. */
  stop(): Promise<number>
}

const everyMs = 100
const repeatedEvery = 5

/**
 * Sends events until it is stopped, as a relay does: a page that failed, whatever of it arrived, is sent again until it is
 * acknowledged. Every fifth page comes once more as a whole. `first` is the sequence number of the first event.
 */
export function startTopicLoad(
  publisher: Publisher,
  { perSecond = 300, keys = 20, first = 1 }: { perSecond?: number; keys?: number; first?: number } = {},
): TopicLoad {
  const stopping = new AbortController()
  const count = Math.ceil((perSecond * everyMs) / 1_000)
  async function run(): Promise<number> {
    let page = 0
    for (; !stopping.signal.aborted; page += 1) {
      const records = likeRecords({ first: first + page * count, count, keys })
      const times = page % repeatedEvery === 0 ? 2 : 1
      for (let time = 0; time < times; time += 1) await publishSurely(publisher, records)
      await pause(everyMs, stopping.signal)
    }
    return page * count
  }
  const running = run()
  running.catch(() => undefined) // told by stop
  return {
    stop: () => {
      stopping.abort()
      return running
    },
  }
}

async function publishSurely(publisher: Publisher, records: readonly OutgoingRecord[]): Promise<void> {
  for (;;) {
    try {
      await publisher.publish(records)
      return
    } catch (error) {
      if (!(error instanceof Failure && error.retryable)) throw error
      await pause(everyMs)
    }
  }
}

/**
 * Events of the products 1, 2, …, one after the other, the nth of sequence n. Of each product every fourth takes the like
 * before it away. They happened in the last few minutes.
 */
export function likeRecords({
  first,
  count,
  keys = 20,
}: {
  first: number
  count: number
  keys?: number
}): OutgoingRecord[] {
  return Array.from({ length: count }, (_, i) => likeRecord(first + i, ((first + i) % keys) + 1, keys))
}

export function likeRecord(sequence: number, productId: number, keys = 1): OutgoingRecord {
  const isRemoved = Math.floor(sequence / keys) % 4 === 3
  const nowMs = Date.now()
  const createdAt = new Date(nowMs - (sequence % 5) * 60_000).toISOString()
  const envelope = encode({
    type: isRemoved ? 'catalog.like.removed.v1' : 'catalog.like.added.v1',
    id: uuidV7(nowMs),
    source: '/e2e',
    time: createdAt,
    sequence: String(sequence),
    data: { userId: isRemoved ? sequence - keys : sequence, productId, createdAt },
  })
  return { topic: topics.catalogEvents, ...envelope }
}

function uuidV7(ms: number): string {
  const hex = ms.toString(16).padStart(12, '0')
  const random = randomBytes(8).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(4, 16)}`
}
