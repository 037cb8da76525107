import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { sql } from '@likewise/database'
import { type Debezium, startDebezium, until } from '@likewise/local-servers'
import type { Bed } from './bed.ts'
import type { Drain } from './drain.ts'
import { countRecords, watchTopic } from './topic-watch.ts'

const readyMs = 60_000

/** Debezium beside the relay: it drains from the WAL the very rows that the relay has drained from the table. */
export interface DebeziumPeer {
  drain(events: number): Promise<Drain>
}

/**
 * Debezium is started once before there is a backlog: from then on its slot keeps what is written, and each later start
 * has that to drain, as after an outage. (Its first start would read the table instead, once in its life.)
 */
export async function prepareDebezium(bed: Bed): Promise<DebeziumPeer> {
  // Slots are the server's; the bed's database takes this one along when it is dropped.
  const slot = `likewise_bench_${randomBytes(6).toString('hex')}`
  await withDebezium(bed, slot, async () => {
    const offsets = join(bed.home, 'debezium', 'offsets')
    const streams = async () => existsSync(offsets) && (await isActive(bed, slot))
    if (!(await until(streams, readyMs))) throw new Error('Debezium does not stream.')
  })
  return {
    async drain(events) {
      const before = await countRecords(bed)
      return withDebezium(bed, slot, ({ process }) => watchTopic(bed, { pid: process.pid, before, events }))
    },
  }
}

async function withDebezium<T>(bed: Bed, slot: string, work: (debezium: Debezium) => Promise<T>): Promise<T> {
  const debezium = await startDebezium({
    home: bed.home,
    databaseUrl: bed.catalogUrl,
    kafkaBrokers: bed.servers.kafkaBrokers,
    slot,
    eventSource: '/like-api',
    log: bed.log,
  })
  try {
    return await Promise.race([work(debezium), died(debezium)])
  } finally {
    await debezium.stop()
    await until(async () => !(await isActive(bed, slot)), readyMs) // until then the slot is not free
  }
}

async function died({ process }: Debezium): Promise<never> {
  await process.exited
  throw new Error(`Debezium ended:\n${await process.outputTail()}`)
}

async function isActive(bed: Bed, slot: string): Promise<boolean> {
  const rows = await bed.catalog.query<{ active: boolean }>(
    sql`select active from pg_replication_slots where slot_name = ${slot}`,
  )
  return rows[0]?.active ?? false
}
