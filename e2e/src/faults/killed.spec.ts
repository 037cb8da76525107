import { sql } from '@likewise/database'
import { readTopicEnds } from '@likewise/kafka'
import type { RunningService } from '@likewise/local-servers'
import { enqueue } from '@likewise/outbox'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import { type Bed, isWal, kill, leave, makeBed, readMetric } from './bed.ts'
import { lockCursors } from './table-lock.ts'
import { delivered, readUnsettled } from './delivery.ts'
import { type Link, openLink } from './link.ts'
import { likesOf } from './load.ts'

// Small pages, so that a repeat of a page and a repeat of everything are two different things; no send may give up
// while its answer is kept back.
const pageRows = 5
const env = { RELAY_PAGE_ROWS: String(pageRows), RELAY_SEND_LIMIT_MS: '60000' }
const repeatsMax = 12 * pageRows
// About windows, cursors and leases, by which a relay that reads the WAL does not publish.
const describePolling = isWal ? describe.skip : describe
const [warm, count] = [20, 400]
const events = warm + count

let bed: Bed
let link: Link
beforeEach(async () => {
  bed = await makeBed()
  link = await openLink(bed.kafkaBrokers)
})
afterEach(async () => {
  await link.stop()
  await bed.stop()
})

/** A relay that has sent to every partition it will send to: what it says next to Kafka are pages. */
async function relayOverLink(): Promise<RunningService> {
  const relay = await bed.relay({ kafkaBrokers: link.address, env })
  await enqueue(bed.db, likesOf(bed.topic, { first: 1, count: warm }))
  await eventually(async () => (await readUnsettled(bed.db)).length === 0)
  return relay
}
const write = () => enqueue(bed.db, likesOf(bed.topic, { first: warm + 1, count }))
const arrived = async () =>
  (await readTopicEnds(bed.kafka, bed.topic)).reduce((sum, { end }) => sum + Number(end), 0)
/** The server may not have noticed yet that the relay is gone: its statement goes on, unless it is ended. */
const end = (pids: readonly number[]) =>
  bed.db.query(sql`select pg_terminate_backend(pid) from unnest(${pids}::int[]) as pid`)
const readWindows = async () => {
  const [row] = await bed.db.query<{ count: bigint }>(sql`
    select count(*) as count from (
      select distinct on (shard) after_seq < last_seq as open from catalog.outbox_cursors order by shard, n desc
    ) as newest where open`)
  return Number(row?.count)
}

describe('kill -9 of the relay', () => {
  it('before its pages reach Kafka: no event lost or repeated, copies in order (I1, I4)', async () => {
    const relay = await relayOverLink()
    link.hold('up')
    await write()
    await eventually(() => Promise.resolve(link.keptBytes() > 0))
    await pause(200) // now the pages are on their way, and nowhere
    await kill(relay)
    expect(await arrived()).toBe(warm)
    expect(await readUnsettled(bed.db)).toEqual([`PENDING ${String(count)}`])

    await bed.relay({ env })
    expect(await bed.delivery()).toEqual({ ...delivered, events, arrived: events, repeats: 0 })
  }, 120_000)

  it('between publish and settle: no event lost, first copies in order, a page per shard repeated (I1, I4)', async () => {
    const relay = await relayOverLink()
    link.hold('down')
    await write()
    // The first page of each shard that has one is there (of the WAL: the first batch), and the relay does not know.
    const shards = await readShards()
    await eventually(async () => (isWal || (await readWindows()) === shards) && (await arrived()) > warm)
    await eventually(async () => isStill(arrived))
    await kill(relay)
    await eventually(async () => isStill(arrived)) // what the broker had on its way
    const once = (await arrived()) - warm
    expect(await readUnsettled(bed.db)).toEqual([`PENDING ${String(count)}`])

    await bed.relay({ env })
    expect(await bed.delivery()).toEqual({ ...delivered, events, arrived: events, repeats: once })
    expect(once).toBeLessThanOrEqual(repeatsMax)
  }, 120_000)
})

describePolling('kill -9 of the relay', () => {
  it.each(['rolled back', 'committed'] as const)(
    'in the middle of opening its windows, which is then %s: no event lost or repeated (I1, I4)',
    async (outcome) => {
      const relay = await relayOverLink()
      const lock = await lockCursors(bed.db)
      await write()
      const pids = await lock.waiting()
      await kill(relay)
      if (outcome === 'rolled back') await end(pids)
      await lock.release()
      await eventually(async () => (await readWindows()) > 0 === (outcome === 'committed'))
      expect(await arrived()).toBe(warm)

      await bed.relay({ env })
      expect(await bed.delivery()).toEqual({ ...delivered, events, arrived: events, repeats: 0 })
    },
    120_000,
  )

  it.each(['rolled back', 'committed'] as const)(
    'in the middle of settling, which is then %s: no event lost, repeats bounded (I1, I4)',
    async (outcome) => {
      const relay = await relayOverLink()
      link.hold('down')
      await write()
      await eventually(async () => (await arrived()) > warm && isStill(arrived))
      const lock = await lockCursors(bed.db)
      link.release()
      const pids = await lock.waiting()
      await kill(relay)
      const once = (await arrived()) - warm
      if (outcome === 'rolled back') await end(pids)
      await lock.release()

      await bed.relay({ env })
      const { repeats, ...found } = await bed.delivery()
      expect(found).toEqual({ ...delivered, events, arrived: events })
      // Of the pages that were there, those whose settling was to be had from nobody come once more.
      expect(repeats).toBeLessThanOrEqual(once)
      if (outcome === 'rolled back') expect(repeats).toBeGreaterThan(0)
    },
    120_000,
  )
})

describePolling('SIGSTOP of a relay past its lease', () => {
  it('changes nothing that it no longer owns when it wakes, and goes on with what it gets (I1, I4, I10)', async () => {
    const sleeper = await relayOverLink()
    link.hold('down')
    await write()
    await eventually(async () => (await arrived()) > warm && isStill(arrived))
    process.kill(sleeper.process.pid, 'SIGSTOP')
    const other = await bed.relay({ env })
    const taken = await bed.delivery()
    expect(taken).toMatchObject({ ...delivered, events, arrived: events })
    expect(taken.repeats).toBeLessThanOrEqual(repeatsMax)

    // It wakes with the broker's answer in its hands, and settles nothing by it.
    link.release()
    process.kill(sleeper.process.pid, 'SIGCONT')
    await eventually(async () => (await readMetric(sleeper, 'likewise_outbox_fenced_writes_total')) > 0)
    expect(await readMetric(other, 'likewise_outbox_fenced_writes_total')).toBe(0)

    await leave(other)
    await eventually(async () => (await readMetric(sleeper, 'likewise_outbox_leases_held')) === 12)
    await enqueue(bed.db, likesOf(bed.topic, { first: events + 1, count }))
    expect(await bed.delivery()).toEqual({
      ...delivered,
      events: events + count,
      arrived: events + count,
      repeats: taken.repeats,
    })
  }, 120_000)
})

const readShards = async () => {
  const [row] = await bed.db.query<{ count: bigint }>(sql`
    select count(distinct shard) as count from catalog.outbox_events`)
  return Number(row?.count)
}

/** A number that has not changed for a moment. */
async function isStill(read: () => Promise<number>): Promise<boolean> {
  const before = await read()
  await pause(500)
  return (await read()) === before
}
