import { type Tx, sql } from '@likewise/database'
import { catalogEventsPartitions, topics } from '@likewise/events'
import { readMarks } from '@likewise/inbox'
import { buildPublisher } from '@likewise/kafka'
import type { RunningService } from '@likewise/local-servers'
import { pause } from '@likewise/service'
import type { Arguments } from './arguments.ts'
import { sendAll } from './bare-producer.ts'
import type { Bed } from './bed.ts'
import { likeRecords, productCount } from './records.ts'
import { type Part, partOf } from './report.ts'
import { countRecords } from './topic-watch.ts'

const records = 100_000
const group = 'bench-spread'
const lookEveryMs = 15
const limitMs = 120_000

/** Whether a product that all the world likes is handled as fast as many that share the load. */
export async function benchHotKey(bed: Bed, { repeats }: Arguments): Promise<Part[]> {
  bed.tell(
    `consumer.hotKey: ${String(records)} likes of one product, beside as many over ${String(productCount)}. ${how}`,
  )
  const [rates, limits] = await inTurns(bed, repeats, [
    { name: 'hot', members: 1, products: 1 },
    { name: 'spread', members: 1, products: productCount },
  ])
  return [partOf('consumer.hotKey', '1/s', rates, { name: 'spread keys', repeats: limits })]
}

/** What three processes together handle on the machine of one. */
export async function benchReplicas(bed: Bed, { repeats }: Arguments): Promise<Part[]> {
  bed.tell(`consumer.replicas3: ${String(records)} likes for three processes of a group, beside one. ${how}`)
  const [rates, limits] = await inTurns(bed, repeats, [
    { name: 'three', members: 3, products: productCount },
    { name: 'one', members: 1, products: productCount },
  ])
  return [partOf('consumer.replicas3', '1/s', rates, { name: 'one replica', repeats: limits })]
}

const how =
  'The members have joined and wait, held back by the locks of their marks, until all records are on the topic; timed ' +
  'from there to the last commit.'

interface Load {
  name: string
  members: number
  products: number
}

async function inTurns(
  bed: Bed,
  repeats: number,
  [measured, limit]: readonly [Load, Load],
): Promise<[number[], number[]]> {
  const [rates, limits]: [number[], number[]] = [[], []]
  // A partition has a mark to hold once it had a record.
  await withMembers(bed, 1, () => send(bed, { count: productCount, products: productCount }))
  for (let i = 1; i <= repeats; i += 1) {
    limits.push(await drainOnce(bed, limit))
    rates.push(await drainOnce(bed, measured))
    const [rate, bound] = [rates, limits].map((all) => (all.at(-1) ?? 0).toFixed(0))
    bed.tell(
      `  ${measured.name} ${String(i)}/${String(repeats)}  ${rate ?? ''}/s; ${limit.name} ${bound ?? ''}/s`,
    )
  }
  return [rates, limits]
}

async function drainOnce(bed: Bed, { members, products }: Load): Promise<number> {
  return withMembers(bed, members, async () => {
    await untilHandled(bed)
    await whileHeld(bed, () => send(bed, { count: records, products }))
    const begunMs = performance.now()
    await untilHandled(bed)
    return records / ((performance.now() - begunMs) / 1000)
  })
}

/** Runs `work` while so many members hold the partitions among them. */
async function withMembers<T>(bed: Bed, count: number, work: () => Promise<T>): Promise<T> {
  const begin = (started: readonly RunningService[]): Promise<T> =>
    started.length < count
      ? bed.withService('metrics-consumer', { CONSUMER_GROUP: group }, (one) => begin([...started, one]))
      : untilShared(bed, started).then(work)
  return begin([])
}

async function untilShared(bed: Bed, members: readonly RunningService[]): Promise<void> {
  const share = catalogEventsPartitions / members.length
  await until(bed, async () => {
    const held = await Promise.all(members.map(({ url }) => countPartitions(url)))
    return held.every((count) => count === share)
  })
}

async function countPartitions(url: string): Promise<number> {
  const response = await fetch(`${url}/metrics`)
  return (await response.text()).match(/^likewise_inbox_lag_records\{/gm)?.length ?? 0
}

/** Holds the marks of the group: what a member fetches meanwhile waits for its first statement. */
async function whileHeld(bed: Bed, work: () => Promise<void>): Promise<void> {
  await bed.metrics.tx(
    async (tx: Tx) => {
      await tx.query(sql`select from metrics.consumer_offsets where consumer = ${group} for update`)
      await work()
    },
    { timeoutMs: limitMs },
  )
}

async function send(bed: Bed, { count, products }: { count: number; products: number }): Promise<void> {
  const publisher = buildPublisher({ ...bed.kafka, sendLimitMs: bed.kafka.requestTimeoutMs })
  const batching = { size: 1_000, inFlight: 1 }
  try {
    const likes = likeRecords(topics.catalogEvents, count, products)
    await sendAll(publisher, likes, { batching, stopping: bed.stopping })
  } finally {
    await publisher.stop()
  }
}

async function untilHandled(bed: Bed): Promise<void> {
  const count = await countRecords(bed)
  await until(bed, async () => {
    const marks = await readMarks(bed.metrics, group, topics.catalogEvents)
    return marks.reduce((sum, { nextOffset }) => sum + Number(nextOffset), 0) >= count
  })
}

async function until(bed: Bed, holds: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + limitMs
  while (!(await holds())) {
    bed.stopping.throwIfAborted()
    if (performance.now() > deadlineMs) throw new Error(`Not within ${String(limitMs / 1000)} s.`)
    await pause(lookEveryMs, bed.stopping)
  }
}
