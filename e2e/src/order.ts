import { randomUUID } from 'node:crypto'
import { type LikeEvent, decode, topics } from '@likewise/events'
import { type IncomingRecord, readTopicEnds, subscribe } from '@likewise/kafka'
import { buildLogger, parseBrokers } from '@likewise/service'
import { eventually } from './system.ts'

/** Every event on the topic, those of a partition in their order. */
export async function readTopic(kafkaBrokers: string): Promise<LikeEvent[]> {
  const records = await readRecords(kafkaBrokers, topics.catalogEvents)
  return records.flatMap((record) => {
    const decoded = decode(record)
    return decoded.kind === 'event' ? [decoded.event] : []
  })
}

/** Every record on a topic, those of a partition in their order. */
export async function readRecords(
  kafkaBrokers: string,
  topic: string,
): Promise<(IncomingRecord & { partition: number })[]> {
  const read: (IncomingRecord & { partition: number })[] = []
  await eachRecord({ kafkaBrokers, topic }, (record) => read.push(record))
  return read
}

/** Shows every record that is on a topic now; those of a partition in their order. */
export async function eachRecord(
  { kafkaBrokers, topic, withinMs = 30_000 }: { kafkaBrokers: string; topic: string; withinMs?: number },
  visit: (record: IncomingRecord & { partition: number }) => void,
): Promise<void> {
  const kafka = {
    brokers: parseBrokers(kafkaBrokers),
    clientId: 'e2e',
    requestTimeoutMs: 10_000,
    log: buildLogger({ service: 'e2e', level: 'silent' }),
  }
  const ends = await readTopicEnds(kafka, topic)
  const wanted = ends.filter(({ start, end }) => end > start)
  const next = new Map<number, bigint>()
  const subscriber = subscribe({
    ...kafka,
    groupId: `e2e-${randomUUID()}`,
    topic,
    partitionsAtOnceMax: 1,
    onBatch: async ({ partition, records }) => {
      for (const record of records) {
        // Where the reader had to join anew, what it did not note comes once more.
        if (record.offset < (next.get(partition) ?? 0n)) continue
        visit({ ...record, partition })
        next.set(partition, record.offset + 1n)
      }
    },
    fail: (error) => {
      throw error
    },
  })
  const isRead = async () => wanted.every(({ partition, end }) => (next.get(partition) ?? 0n) >= end)
  await eventually(isRead, withinMs).finally(() => subscriber.stop())
}

/** A relay that died after Kafka's answer and before its own note repeats a page: at least once. */
function firstCopies(events: readonly LikeEvent[]): LikeEvent[] {
  const seen = new Set<string>()
  return events.filter(({ id }) => !seen.has(id) && seen.add(id))
}

/** What happened to each (user, product), in the order of the topic: `+` was added, `-` removed. */
export function turnsOfPairs(events: readonly LikeEvent[]): Map<string, string> {
  const turns = new Map<string, string>()
  for (const { data, type } of firstCopies(events)) {
    const pair = `${data.userId}/${data.productId}`
    turns.set(pair, `${turns.get(pair) ?? ''}${type === 'catalog.like.added.v1' ? '+' : '-'}`)
  }
  return turns
}
