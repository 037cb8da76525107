import type { EachBatchPayload } from 'kafkajs'
import { pause } from '@likewise/service'

// A commit is work for both sides, and a batch that waits for its own keeps the next fetch waiting.
const everyMs = 200

type Tell = EachBatchPayload['commitOffsetsIfNecessary']

export type Commits = ReturnType<typeof buildCommits>

/**
 * Tells the broker how far the group is: all partitions in one request, one request at a time, and what is handled
 * meanwhile with the next one. No batch waits for it: who takes a partition over reads what was not told once more, as
 * after a kill.
 */
export function buildCommits(topic: string, pauseMs = everyMs) {
  const pending = new Map<number, string>()
  let tell: Tell | undefined
  let underWay: Promise<void> | undefined
  let lastMs = -Infinity
  let hurry = new AbortController()
  let failed: { error: unknown } | undefined
  let generation = 0

  async function tellAll(): Promise<void> {
    while (pending.size > 0) {
      await pause(Math.max(0, lastMs + pauseMs - performance.now()), hurry.signal)
      const partitions = [...pending].map(([partition, offset]) => ({ partition, offset }))
      if (partitions.length === 0) return
      pending.clear()
      lastMs = performance.now()
      const asked = generation
      try {
        await tell?.({ topics: [{ topic, partitions }] })
      } catch (error) {
        if (asked !== generation) continue // of a partition that may be another member's by now
        failed = { error }
        for (const { partition, offset } of partitions) {
          if (!pending.has(partition)) pending.set(partition, offset)
        }
        return
      }
    }
  }
  const start = (): Promise<void> =>
    (underWay ??= tellAll().finally(() => {
      underWay = undefined
      // Noted after the last look. What failed waits for the next batch.
      if (pending.size > 0 && failed === undefined) void start()
    }))

  return {
    /** All before `offset` is handled. `by` is kafkajs's function: it knows the generation it is called in. */
    note(partition: number, offset: string, by: Tell): void {
      pending.set(partition, offset)
      tell = by
      void start()
    },
    /** Tells at once, and resolves when that is done or has failed. */
    async flush(): Promise<void> {
      hurry.abort()
      await start()
      hurry = new AbortController()
    },
    /** What is not told by now is left to whoever has the partition next; and a failure of before would only upset the group again. */
    forget(): void {
      generation += 1
      failed = undefined
      pending.clear()
      hurry.abort()
      hurry = new AbortController()
    },
    /** Throws what made a commit fail: kafkajs hears of it with the next batch, and mends it. */
    throwFailure(): void {
      const last = failed
      failed = undefined
      if (last) throw last.error
    },
  }
}
