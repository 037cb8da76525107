import { topics } from '@likewise/events'
import { readMarks } from '@likewise/inbox'
import { buildPublisher, readTopicEnds } from '@likewise/kafka'
import { collectBatches, measureLoop, partitionsAtOnce } from './bare-loop.ts'
import { sendAll } from './bare-producer.ts'
import type { Arguments } from './arguments.ts'
import type { Bed } from './bed.ts'
import { benchRebuild } from './consumer-rebuild.ts'
import { type Drain, drainLine, drainOf, partsOfDrains, watchDrain } from './drain.ts'
import { likeRecords } from './records.ts'
import type { Part } from './report.ts'

const topicRecords = 100_000

/**
 * How fast one consumer process handles what lies on the topic, beside the same statements without Kafka; and how fast
 * `likewise rebuild` counts the same records again.
 */
export async function benchConsumerDrain(bed: Bed, { repeats }: Arguments): Promise<Part[]> {
  bed.tell(
    `consumer.drain: ${String(topicRecords)} records on the topic, one consumer process, a new group each time; timed from its ` +
      'first committed batch to its last, so that its start is not in the rate.',
  )
  const records = await fillTopic(bed)
  const batches = await collectBatches(bed, {
    topic: topics.catalogEvents,
    group: 'bench-collector',
    records,
  })
  const perBatch = Math.round(records / batches.length)
  bed.tell(
    `  limit: handleBatch over the same ${String(batches.length)} batches (${String(perBatch)} records on average), ` +
      `${String(partitionsAtOnce)} partitions at a time, and for comparison one batch after the other`,
  )
  const drains: Drain[] = []
  const limits: number[] = []
  for (let i = 1; i <= repeats; i += 1) {
    const loop = (atOnce: number) =>
      measureLoop(bed, { consumer: `bench-loop-${String(i)}-${String(atOnce)}`, batches, atOnce })
    const [limit, inTurn] = [await loop(partitionsAtOnce), await loop(1)]
    const group = `bench-consumer-${String(i)}`
    const drain = await bed.withService('metrics-consumer', { CONSUMER_GROUP: group }, ({ process }) =>
      drainBy(bed, { pid: process.pid, group, records }),
    )
    drains.push(drain)
    limits.push(limit)
    bed.tell(
      `${drainLine(`consumer ${String(i)}/${String(repeats)}`, drain)}; bare ${limit.toFixed(0)}/s, ${inTurn.toFixed(0)}/s`,
    )
  }
  const parts = partsOfDrains({ area: 'consumer' }, drains, {
    name: 'handleBatch over records in memory, three partitions at a time',
    repeats: limits,
  })
  const groups = drains.map((_, i) => `bench-consumer-${String(i + 1)}`)
  return [...parts, ...(await benchRebuild(bed, { groups, drains }))]
}

/** Fills the topic up: the end-to-end part may have left some thousand likes there. @returns records on it */
async function fillTopic(bed: Bed): Promise<number> {
  const ends = await readTopicEnds(bed.kafka, topics.catalogEvents)
  const present = ends.reduce((sum, { end }) => sum + Number(end), 0)
  const publisher = buildPublisher({ ...bed.kafka, sendLimitMs: bed.kafka.requestTimeoutMs })
  try {
    const missing = likeRecords(topics.catalogEvents, Math.max(0, topicRecords - present))
    await sendAll(publisher, missing, { batching: { size: 1_000, inFlight: 1 }, stopping: bed.stopping })
    return present + missing.length
  } finally {
    await publisher.stop()
  }
}

async function drainBy(bed: Bed, of: { pid: number; group: string; records: number }): Promise<Drain> {
  const { first, last } = await watchDrain({
    pid: of.pid,
    stopping: bed.stopping,
    read: async () => {
      const marks = await readMarks(bed.metrics, of.group, topics.catalogEvents)
      return marks.reduce((sum, { nextOffset }) => sum + Number(nextOffset), 0)
    },
    hasBegun: (handled) => handled > 0,
    isDone: (handled) => handled >= of.records,
  })
  return drainOf({ first, last, events: last.progress - first.progress })
}
