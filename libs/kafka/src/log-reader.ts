import { pause } from '@likewise/service'
import type { IncomingRecord } from './batch.ts'
import type { KafkaOptions } from './client.ts'
import { subscribe } from './subscriber.ts'
import { removeGroups } from './topics.ts'

export interface LogReaderOptions extends KafkaOptions {
  topic: string
  /** Its own: it has no other members and nothing is remembered in it; it is removed at the end. */
  groupId: string
  /** Where to begin in each partition; 0 where nothing is said. */
  from: ReadonlyMap<number, bigint>
  /**
   * Records of a partition, each once and in order, from where it began. Reading goes on when it resolves; to false, they
   * were not taken, and come again after the other partitions had their turn. The first offset is higher than the one after
   * the last only where the log holds nothing in between.
   */
  onRecords: (partition: number, records: readonly IncomingRecord[]) => Promise<boolean>
  /** Called for a bug, and when fresh clients did not get on either; outages are waited out. */
  fail: (error: unknown) => void
}

// A group can be removed when its last member has left, which the broker may hear a moment late.
const removeTries = 5

/**
 * Reads a topic from given offsets, beside whoever else reads it: kafkajs reads in a group only, so it is one of its own,
 * whose offsets mean nothing. @returns stop
 */
export function readLog({ from, onRecords, ...options }: LogReaderOptions): () => Promise<void> {
  const next = new Map(from)
  const sought = new Map<number, bigint>()
  const subscriber = subscribe({
    ...options,
    partitionsAtOnceMax: 64,
    async onBatch({ partition, records, isFirst, gotOn }) {
      // What was sought before a rebalance is forgotten by it.
      if (isFirst) sought.delete(partition)
      const wanted = next.get(partition) ?? 0n
      const [first, last] = [records[0], records.at(-1)]
      if (!first || !last) return undefined
      if (last.offset < wanted) return wanted
      if (first.offset > wanted && sought.get(partition) !== wanted) {
        sought.set(partition, wanted)
        return wanted
      }
      const fresh = first.offset >= wanted ? records : records.filter(({ offset }) => offset >= wanted)
      if (!(await onRecords(partition, fresh))) {
        // Whoever takes nothing at the moment is no client that hangs.
        gotOn()
        return wanted
      }
      next.set(partition, last.offset + 1n)
      return undefined
    },
  })
  return async () => {
    await subscriber.stop()
    for (let i = 0; i < removeTries; i += 1) {
      try {
        await removeGroups(options, [options.groupId])
        return
      } catch (error) {
        options.log.debug({ err: error, groupId: options.groupId }, 'group not removed')
        await pause(200)
      }
    }
  }
}
