import { randomUUID } from 'node:crypto'
import { type LiveMark, type RebuildOffset, entryOf } from '@likewise/inbox'
import { type KafkaOptions, readLog, readTopicEnds } from '@likewise/kafka'
import { Failure } from '@likewise/service'
import { type ReadAhead, buildReadAhead } from './read-ahead.ts'

interface Ends {
  readonly partition: number
  readonly start: bigint
  readonly end: bigint
}

/**
 * Refuses a log that does not hold what is to be read: its beginning, or all that comes after a snapshot (or after what
 * was counted so far). Pure.
 */
export function requireHeld(
  topic: string,
  ends: readonly Ends[],
  { offsets, marks }: { offsets: readonly Pick<RebuildOffset, 'partition' | 'nextOffset'>[] | 'the beginning'; marks: readonly LiveMark[] }, // prettier-ignore
): void {
  const where = (partition: number) => `Partition ${String(partition)} of ${topic}`
  const next = new Map(
    offsets === 'the beginning' ? [] : offsets.map(({ partition, nextOffset }) => [partition, nextOffset]),
  )
  for (const { partition, start } of ends) {
    const wanted = next.get(partition) ?? 0n
    if (start <= wanted) continue
    const gone = `${where(partition)} begins at offset ${String(start)}`
    throw new Failure(
      'CONFLICT',
      wanted === 0n
        ? `${gone}: the topic no longer holds its beginning, so a rebuild has to begin with a snapshot: ` +
            'likewise rebuild --snapshot <id> (likewise snapshot list; likewise snapshot takes one).'
        : `${gone}, after ${String(wanted)}, where the rebuild would go on: what lay between is gone. ` +
            'Begin with a newer snapshot (likewise snapshot list).',
    )
  }
  if (offsets === 'the beginning') {
    const replaced = marks.find(({ replacedAt }) => replacedAt !== null)
    if (replaced) throw new Failure('CONFLICT', `${where(replaced.partition)} was made again (seen ${replaced.replacedAt?.toISOString() ?? ''}): what was counted before is not on it, and a rebuild from its beginning would lose that. Begin with a snapshot taken since: likewise rebuild --snapshot <id>.`) // prettier-ignore
  }
  const logEnd = new Map(ends.map(({ partition, end }) => [partition, end]))
  for (const { partition, nextOffset } of marks) {
    const end = logEnd.get(partition) ?? 0n
    if (nextOffset > end) throw new Failure('CONFLICT', `${where(partition)} ends at offset ${String(end)}, before ${String(nextOffset)}, which the consumer has reached: the topic was made again or has lost its end. The consumer sees that with its next record; then begin with a snapshot.`) // prettier-ignore
    if ((next.get(partition) ?? 0n) > nextOffset) throw new Failure('CONFLICT', `The live model stands at offset ${String(nextOffset)} of partition ${String(partition)}, before ${String(next.get(partition))}, where the rebuild is: it was restored, or the topic was made again. Drop the rebuild: likewise rebuild --drop.`) // prettier-ignore
  }
}

/** From the end of the transaction that found another log to a snapshot or a beginning that could still miss it. */
const unseenMs = 10_000

/**
 * Refuses to go on where the live model has left what the rebuild began with: its log was made again since, or it was
 * restored. Offsets of two logs may be equal, so they do not tell. Pure.
 */
export function requireSameModel(
  topic: string,
  marks: readonly LiveMark[],
  { since, nextOf }: { since: Date; nextOf: (partition: number) => bigint },
): void {
  for (const { partition, nextOffset, replacedAt } of marks) {
    const where = `Partition ${String(partition)} of ${topic}`
    const drop =
      'Drop the rebuild (likewise rebuild --drop), and begin with a snapshot that is newer than that.'
    if (replacedAt !== null && replacedAt.getTime() > since.getTime() - unseenMs) {
      throw new Failure('CONFLICT', `${where} was made again (seen ${replacedAt.toISOString()}), after what the rebuild began with. ${drop}`) // prettier-ignore
    }
    if (nextOffset < nextOf(partition)) {
      throw new Failure('CONFLICT', `${where}: the live model stands at offset ${String(nextOffset)}, before ${String(nextOf(partition))}, where the rebuild is: it was restored. ${drop}`) // prettier-ignore
    }
  }
}

export interface Source {
  readonly ahead: ReadAhead
  /** Throws what ended the reading. */
  check(): void
  /** Asks the broker whether it still holds what is to be read next. */
  requireHeld(): Promise<void>
  stop(): Promise<void>
}

/** Reads the topic from where the rebuild stands, in a group of its own. */
export function openSource(
  kafka: KafkaOptions,
  { topic, consumer }: { topic: string; consumer: string },
  offsets: readonly RebuildOffset[],
): Source {
  const ahead = buildReadAhead(topic, new Map(offsets.map(({ partition, ...stand }) => [partition, stand])))
  let failed: { error: unknown } | undefined
  const fail = (error: unknown): void => void (failed ??= { error })
  const stop = readLog({
    ...kafka,
    topic,
    // A new one each time: one that a killed rebuild has left stands where that one had read to.
    groupId: `${consumer}-rebuild-${randomUUID()}`,
    from: ahead.readFrom(),
    async onRecords(partition, records) {
      const [first, nextOffset] = [records[0]?.offset ?? 0n, ahead.readTo(partition)]
      // The markers of transactions leave gaps, too; what retention took away in the meantime would be lost.
      if (first > nextOffset) {
        const ends = (await readTopicEnds(kafka, topic)).filter((one) => one.partition === partition)
        requireHeld(topic, ends, { offsets: [{ partition, nextOffset }], marks: [] })
      }
      return ahead.push(partition, records.map(entryOf))
    },
    fail,
  })
  return {
    ahead,
    check() {
      if (failed) throw failed.error
    },
    async requireHeld() {
      const ends = await readTopicEnds(kafka, topic)
      const stands = ends.map(({ partition }) => ({ partition, nextOffset: ahead.nextOf(partition) }))
      requireHeld(topic, ends, { offsets: stands, marks: [] })
    },
    stop,
  }
}
