import { randomBytes } from 'node:crypto'
import { catalogEventsPartitions } from '@likewise/events'
import { ensureTopics, removeGroups, removeTopics } from '@likewise/kafka'
import { until } from '@likewise/local-servers'
import type { Arguments } from './arguments.ts'
import { collectBatches } from './bare-loop.ts'
import type { Bed } from './bed.ts'
import { type ClockOffset, latenciesOf, scheduleOf, wallBetween } from './latency.ts'
import { readUsage } from './process-usage.ts'
import { type Part, partOf, percentile } from './report.ts'
import { countRecords } from './topic-watch.ts'
import { type Commit, keyCount, writeEvents } from './writer.ts'

const topic = 'likewise-bench-latency'
const perSecond = 500
const seconds = 20
const warmUpSeconds = 10
/** Far beyond any latency worth a number. */
const arrivalLimitMs = 30_000

interface Load {
  readonly commits: readonly Commit[]
  readonly wallOf: (atMs: number) => number
  /** CPU seconds of the relay per second of load; null where it cannot be read. */
  readonly cpu: number | null
}

/** How long a committed event takes until the broker has it. */
export async function benchLatency(bed: Bed, { repeats }: Arguments): Promise<Part[]> {
  bed.tell(
    `relay.latency: ${String(perSecond)} events/s for ${String(seconds)} s, open loop, each a transaction of its own, ` +
      `${String(keyCount)} keys, one relay process, warm after ${String(warmUpSeconds)} s; from the commit's acknowledgement ` +
      "to the broker's time of the append, which is to have the same clock.",
  )
  const group = `likewise-bench-latency-${randomBytes(6).toString('hex')}`
  const shape = { partitions: catalogEventsPartitions, replicationFactor: 1, retentionMs: 3_600_000 }
  await ensureTopics(bed.kafka, [{ topic, ...shape }])
  try {
    const loads = await bed.withService('outbox-relay', {}, async ({ process }) => {
      await load(bed, { pid: process.pid, forSeconds: warmUpSeconds })
      const measured: Load[] = []
      while (measured.length < repeats)
        measured.push(await load(bed, { pid: process.pid, forSeconds: seconds }))
      return measured
    })
    return partsOf(bed, loads, await readAppends(bed, group))
  } finally {
    await removeGroups(bed.kafka, [group])
    await removeTopics(bed.kafka, [topic])
  }
}

async function load(bed: Bed, { pid, forSeconds }: { pid: number; forSeconds: number }): Promise<Load> {
  const present = await countRecords(bed, topic)
  const [before, first] = [await readUsage(pid), readClock()]
  const commits = await writeEvents(bed.catalog, {
    ...{ topic, perSecond, seconds: forSeconds, stopping: bed.stopping },
  })
  const [after, last] = [await readUsage(pid), readClock()]
  const haveCome = async () => {
    bed.stopping.throwIfAborted()
    return (await countRecords(bed, topic)) - present >= commits.length
  }
  if (!(await until(haveCome, arrivalLimitMs))) {
    throw new Error(`Not published within ${String(arrivalLimitMs / 1000)} s of the last commit.`)
  }
  const tookSeconds = (last.atMs - first.atMs) / 1000
  const cpu = before === null || after === null ? null : (after.cpuSeconds - before.cpuSeconds) / tookSeconds
  return { commits, wallOf: wallBetween(first, last), cpu }
}

/** When the broker appended each event, by id; of one that was sent twice, the first time. */
async function readAppends(bed: Bed, group: string): Promise<Map<string, number>> {
  const batches = await collectBatches(bed, { topic, group, records: await countRecords(bed, topic) })
  const appendedMs = new Map<string, number>()
  for (const { headers, timeMs } of batches.flatMap(({ records }) => records)) {
    const id = String(headers['ce_id'])
    appendedMs.set(id, Math.min(timeMs, appendedMs.get(id) ?? Infinity))
  }
  return appendedMs
}

function partsOf(bed: Bed, loads: readonly Load[], appendedMs: ReadonlyMap<string, number>): Part[] {
  const [p50, p99]: [number[], number[]] = [[], []]
  for (const [i, { commits, wallOf, cpu }] of loads.entries()) {
    const latencies = latenciesOf(commits, { appendedMs, wallOf })
    const [half, most] = [percentile(latencies, 0.5), percentile(latencies, 0.99)]
    p50.push(half)
    p99.push(most)
    const { achieved, warning } = scheduleOf(commits, perSecond)
    bed.tell(
      `  latency ${String(i + 1)}/${String(loads.length)}  p50 ${half.toFixed(1)} ms, p99 ${most.toFixed(1)} ms; ` +
        `${achieved.toFixed(1)}/s written` +
        (cpu === null ? '' : `, ${cpu.toFixed(2)} CPU s of the relay per second`) +
        warning,
    )
  }
  return [partOf('relay.p50', 'ms', p50), partOf('relay.p99', 'ms', p99)]
}

const clockReadMs = 3

/** The largest of many readings: the clock is cut to whole milliseconds, and a pause between the two only lowers it. */
function readClock(): ClockOffset {
  const endMs = performance.now() + clockReadMs
  let offsetMs = -Infinity
  while (performance.now() < endMs) offsetMs = Math.max(offsetMs, Date.now() - performance.now())
  return { atMs: endMs, offsetMs }
}
