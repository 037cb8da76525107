import { handleBatch } from '@likewise/inbox'
import { type IncomingBatch, subscribe } from '@likewise/kafka'
import { applyToProductMetrics } from '@likewise/metrics'
import { buildLogger, pause } from '@likewise/service'
import type { Bed } from './bed.ts'

/** As metrics-consumer by default: CONSUMER_PARTITIONS_AT_ONCE. */
export const partitionsAtOnce = 3
const dayMs = 86_400_000
const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }
const collectLimitMs = 60_000
/** The first group of a broker starts again while its offsets get their topic: nothing to warn of. */
const collectorLog = buildLogger({ service: 'bench', level: 'error' })

/** So many records of the topic, from its beginning, in the very batches a consumer gets. */
export async function collectBatches(
  bed: Bed,
  { topic, group, records }: { topic: string; group: string; records: number },
): Promise<IncomingBatch[]> {
  const batches: IncomingBatch[] = []
  let collected = 0
  let failed: { error: unknown } | undefined
  const subscriber = subscribe({
    ...bed.kafka,
    log: collectorLog,
    groupId: group,
    topic,
    partitionsAtOnceMax: partitionsAtOnce,
    onBatch: (batch) => {
      batches.push(batch)
      collected += batch.records.length
      return Promise.resolve(undefined)
    },
    fail: (error) => (failed ??= { error }),
  })
  try {
    const deadlineMs = performance.now() + collectLimitMs
    while (collected < records) {
      bed.stopping.throwIfAborted()
      if (failed) throw failed.error
      if (performance.now() > deadlineMs) {
        throw new Error(
          `Read ${String(collected)} of ${String(records)} records in ${String(collectLimitMs)} ms.`,
        )
      }
      await pause(20, bed.stopping)
    }
    return batches
  } finally {
    await subscriber.stop()
  }
}

/** Handles the batches as the consumer does, so many partitions at a time, each in order. @returns records per second */
export async function measureLoop(
  bed: Bed,
  { consumer, batches, atOnce }: { consumer: string; batches: readonly IncomingBatch[]; atOnce: number },
): Promise<number> {
  const numbers = [...new Set(batches.map(({ partition }) => partition))]
  const partitions = numbers.map((number) => batches.filter(({ partition }) => partition === number))
  const begunMs = performance.now()
  const worker = async () => {
    for (let mine = partitions.pop(); mine !== undefined; mine = partitions.pop()) {
      for (const { topic, partition, records } of mine) {
        bed.stopping.throwIfAborted()
        await handleBatch(bed.metrics, {
          scope: { consumer, topic, partition },
          records,
          horizon,
          work: applyToProductMetrics,
        })
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  const records = batches.reduce((sum, batch) => sum + batch.records.length, 0)
  return records / ((performance.now() - begunMs) / 1000)
}
