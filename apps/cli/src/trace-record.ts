import { randomUUID } from 'node:crypto'
import { decode, shardOf } from '@likewise/events'
import { type KafkaOptions, readLog, readOffsetsAt, readTopicEnds } from '@likewise/kafka'
import { pause } from '@likewise/service'

export interface FoundRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly timeMs: number
}

/** The broker's clock may be behind the database's. */
const skewMs = 60_000
/** Further on it is not looked for: an event that lay in the outbox for so long is told by its handling. */
const recordsMax = 500_000n
const withinMs = 60_000

/** Looks for an event's first copy, from the time at which it was written on. @returns null where it is not there. */
export async function findRecord(
  { kafka, topic, consumer }: { kafka: KafkaOptions; topic: string; consumer: string },
  { key, eventId, sinceMs }: { key: string; eventId: string; sinceMs: number },
): Promise<FoundRecord | null> {
  const ends = await readTopicEnds(kafka, topic)
  const partition = shardOf(key, ends.length)
  const end = ends.find((one) => one.partition === partition)?.end ?? 0n
  const first = (await readOffsetsAt(kafka, topic, sinceMs - skewMs)).get(partition) ?? end
  const last = first + recordsMax < end ? first + recordsMax : end
  if (first >= last) return null
  // Of the other partitions nothing is wanted.
  const from = new Map(ends.map((one) => [one.partition, one.partition === partition ? first : one.end]))
  const over = new AbortController()
  const seen: { found: FoundRecord | null; failed?: { error: unknown } } = { found: null }
  const stop = readLog({
    ...{ ...kafka, topic, groupId: `${consumer}-trace-${randomUUID()}`, from },
    onRecords: async (place, records) => {
      if (place !== partition) return true
      for (const record of records) {
        const decoded = decode(record)
        const id =
          decoded.kind === 'event' ? decoded.event.id : decoded.kind === 'refused' ? decoded.eventId : null
        if (id === eventId) seen.found ??= { topic, partition, offset: record.offset, timeMs: record.timeMs }
      }
      if (seen.found || (records.at(-1)?.offset ?? 0n) + 1n >= last) over.abort()
      return true
    },
    fail: (error) => {
      seen.failed ??= { error }
      over.abort()
    },
  })
  await pause(withinMs, over.signal)
  await stop()
  if (seen.failed) throw seen.failed.error
  return seen.found
}
