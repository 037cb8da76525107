import { withBareProducer } from './bare-producer.ts'
import type { Bed } from './bed.ts'
import { type Drain, drainLine, drainOf, partsOfDrains, watchDrain } from './drain.ts'
import {
  type Backlog,
  countPublished,
  hasBegun,
  isPublished,
  readCursors,
  seedBacklog,
} from './outbox-seed.ts'
import type { Part } from './report.ts'

const backlogEvents = 100_000

/** How fast one relay process publishes a backlog, beside a producer that has nothing else to do. */
export async function benchRelay(bed: Bed, repeats: number): Promise<Part[]> {
  bed.tell(
    `relay: a backlog of ${String(backlogEvents)} events, one relay process; timed from its first settled page to its ` +
      'last, so that its start is not in the rate. CPU and peak memory are those of the process.',
  )
  return withBareProducer(bed, async (bare) => {
    const { size, inFlight } = bare.batching
    bed.tell(
      `  limit: bare kafkajs, best with ${String(size)} records a send, ${String(inFlight)} on the way`,
    )
    const drains: Drain[] = []
    const limits: number[] = []
    for (let i = 1; i <= repeats; i += 1) {
      const limit = await bare.measure(backlogEvents)
      const backlog = await seedBacklog(bed.catalog, backlogEvents)
      const drain = await bed.withService('outbox-relay', {}, ({ process }) =>
        drainBy(bed, process.pid, backlog),
      )
      drains.push(drain)
      limits.push(limit)
      bed.tell(`${drainLine(`relay ${String(i)}/${String(repeats)}`, drain)}; bare ${limit.toFixed(0)}/s`)
    }
    return partsOfDrains('relay', drains, { name: 'bare kafkajs producer, acks=all', repeats: limits })
  })
}

async function drainBy(bed: Bed, pid: number, backlog: Backlog): Promise<Drain> {
  const { first, last } = await watchDrain({
    pid,
    stopping: bed.stopping,
    read: () => readCursors(bed.catalog),
    hasBegun: (cursors) => hasBegun(backlog, cursors),
    isDone: (cursors) => isPublished(backlog, cursors),
  })
  const before = await countPublished(bed.catalog, backlog, first.progress)
  return drainOf({ first, last, events: backlog.events - before })
}
