import { type KafkaClient, type OutgoingRecord, type Publisher, buildPublisher } from '@likewise/kafka'
import type { Bed } from './bed.ts'
import { likeRecords } from './records.ts'

/** Records in one send, and sends on their way at the same time. */
export interface Batching {
  readonly size: number
  readonly inFlight: number
}

const plain: Batching = { size: 1_000, inFlight: 1 }
const candidates: readonly Batching[] = [
  plain,
  { size: 1_000, inFlight: 4 },
  { size: 5_000, inFlight: 1 },
  { size: 10_000, inFlight: 1 },
]
const trialRecords = 20_000

/** A producer that does nothing else, with acks=all: as fast as records get to this broker with this client. */
export interface BareProducer {
  readonly client: KafkaClient
  readonly batching: Batching
  /** Sends so many likes to the bare topic. @returns records per second. */
  measure(count: number): Promise<number>
}

/** Runs `work` with a bare producer that has found its best batch size. */
export async function withBareProducer<T>(
  bed: Bed,
  client: KafkaClient,
  work: (bare: BareProducer) => Promise<T>,
): Promise<T> {
  const publisher = buildPublisher({ ...bed.kafka, client, sendLimitMs: bed.kafka.requestTimeoutMs })
  const measure = async (count: number, batching: Batching) => {
    const records = likeRecords(bed.bareTopic, count)
    const begunMs = performance.now()
    await sendAll(publisher, records, { batching, stopping: bed.stopping })
    return count / ((performance.now() - begunMs) / 1000)
  }
  try {
    await measure(trialRecords, plain) // compiled and connected before the trials
    let best = { batching: plain, rate: 0 }
    for (const batching of candidates) {
      const rate = await measure(trialRecords, batching)
      if (rate > best.rate) best = { batching, rate }
    }
    const { batching } = best
    bed.tell(
      `  limit: bare ${client}, best with ${String(batching.size)} records a send, ${String(batching.inFlight)} on the way`,
    )
    return await work({ client, batching, measure: (count) => measure(count, batching) })
  } finally {
    await publisher.stop()
  }
}

/** Sends the records, and stops early only when told to. */
export async function sendAll(
  publisher: Publisher,
  records: readonly OutgoingRecord[],
  { batching, stopping }: { batching: Batching; stopping: AbortSignal },
): Promise<void> {
  let next = 0
  const sender = async () => {
    while (next < records.length) {
      stopping.throwIfAborted()
      const batch = records.slice(next, next + batching.size)
      next += batching.size
      await publisher.publish(batch)
    }
  }
  await Promise.all(Array.from({ length: batching.inFlight }, sender))
}
