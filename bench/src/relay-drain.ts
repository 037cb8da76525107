import type { Arguments } from './arguments.ts'
import { withBareProducer } from './bare-producer.ts'
import type { Bed } from './bed.ts'
import { prepareDebezium } from './debezium-peer.ts'
import { type Drain, drainLine, drainOf, partsOfDrains, watchDrain } from './drain.ts'
import {
  type Backlog,
  backlogEvents,
  countPublished,
  hasBegun,
  isPublished,
  readCursors,
  seedBacklog,
} from './outbox-seed.ts'
import type { Part } from './report.ts'

/**
 * How fast one relay process publishes a backlog, beside a producer that has nothing else to do; with either Kafka client,
 * in turns, because machines that share their host drift. A peer drains the same rows after each of them.
 */
export async function benchDrain(
  bed: Bed,
  { repeats, peers }: Pick<Arguments, 'repeats' | 'peers'>,
): Promise<Part[]> {
  bed.tell(
    `relay.drain: a backlog of ${String(backlogEvents)} events, one relay process; timed from its first settled page to its ` +
      'last, so that its start is not in the rate. CPU and peak memory are those of the process.',
  )
  const debezium = peers.includes('debezium') ? await prepareDebezium(bed) : undefined
  const byDebezium: Drain[] = []
  return withBareProducer(bed, 'kafkajs', (kafkajs) =>
    withBareProducer(bed, 'platformatic', async (platformatic) => {
      const runs = [kafkajs, platformatic].map((bare) => ({
        bare,
        drains: [] as Drain[],
        limits: [] as number[],
      }))
      for (let i = 1; i <= repeats; i += 1) {
        for (const { bare, drains, limits } of runs) {
          const limit = await bare.measure(backlogEvents)
          const drain = await drainBacklog(bed, { KAFKA_CLIENT: bare.client })
          drains.push(drain)
          limits.push(limit)
          const name = `relay ${bare.client} ${String(i)}/${String(repeats)}`
          bed.tell(`${drainLine(name, drain)}; bare ${limit.toFixed(0)}/s`)
          if (debezium === undefined) continue
          const peer = await debezium.drain(backlogEvents)
          byDebezium.push(peer)
          bed.tell(drainLine(`debezium ${String(byDebezium.length)}/${String(repeats * runs.length)}`, peer))
        }
      }
      const parts = runs.flatMap(({ bare: { client }, drains, limits }) =>
        partsOfDrains({ area: 'relay', variant: client === 'kafkajs' ? undefined : client }, drains, {
          name: `bare ${client} producer, acks=all`,
          repeats: limits,
        }),
      )
      return debezium === undefined
        ? parts
        : [...parts, ...partsOfDrains({ area: 'peer.debezium' }, byDebezium)]
    }),
  )
}

/** Leaves a backlog and lets a relay that is started then, with `env`, publish it; timed by the relay's own cursors. */
export async function drainBacklog(bed: Bed, env: Readonly<Record<string, string>> = {}): Promise<Drain> {
  const backlog = await seedBacklog(bed.catalog, backlogEvents)
  return bed.withService('outbox-relay', { KAFKA_CLIENT: 'kafkajs', ...env }, ({ process }) =>
    drainBy(bed, process.pid, backlog),
  )
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
