import { sql } from '@likewise/database'
import { pause } from '@likewise/service'
import { afterEach, describe, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import { type Bed, makeBed, readMetric } from './bed.ts'
import { delivered } from './delivery.ts'
import { startLoad } from './load.ts'
import { ownKafkaOnSmallDisk, ownPostgresOnSmallDisk } from './own-servers.ts'
import { smallDiskFault } from './small-disk.ts'

const fault = smallDiskFault()
const describeIfPossible = fault === null ? describe : describe.skip
const fullMs = 8_000

const ends: (() => Promise<unknown>)[] = []
/** Whatever went wrong; the last one opened is closed first. */
const atEnd = (work: () => Promise<unknown>) => ends.unshift(work)
afterEach(async () => {
  for (const work of ends.splice(0)) await work()
}, 60_000)

async function openBed(servers: Parameters<typeof makeBed>[0]): Promise<Bed> {
  const bed = await makeBed(servers)
  atEnd(() => bed.stop())
  return bed
}

describeIfPossible(`a disk that is full under load${fault === null ? '' : ` (skipped: ${fault})`}`, () => {
  it('is that of PostgreSQL: nothing is committed until there is room, and then all arrives, in order (I1, I4, I5, I6)', async () => {
    const { server, disk, remove } = await ownPostgresOnSmallDisk()
    atEnd(remove)
    const bed = await openBed({ databaseUrl: server.url })
    await Promise.all([bed.relay(), bed.relay()])
    const load = startLoad(bed.db, bed.topic)
    await pause(2_000)
    disk?.fill()
    const more = () => bed.db.execute(sql`create table more as select generate_series(1, 1000000) as n`)
    await expect(more()).rejects.toMatchObject({ name: 'Failure' })
    await pause(fullMs)
    disk?.empty()
    await server.start()
    await eventually(() => more().then(() => true, () => false)) // prettier-ignore
    await pause(2_000)
    const committed = await load.stop()
    const found = await bed.delivery(120_000)
    // Of what was under way when the server ended, nobody knows.
    expect(found.events).toBeGreaterThanOrEqual(committed)
    expect(committed).toBeGreaterThan(1_000)
    expect(found).toMatchObject({ ...delivered, arrived: found.events })
  }, 240_000)

  it('is that of the broker: events wait in the outbox until there is room and it is started again (I1, I4, I6)', async () => {
    const { server, disk, remove } = await ownKafkaOnSmallDisk()
    atEnd(remove)
    const bed = await openBed({ kafkaBrokers: server.brokers })
    const [relay] = await Promise.all([bed.relay(), bed.relay()])
    const load = startLoad(bed.db, bed.topic)
    await pause(2_000)
    disk?.fill()
    await eventually(
      async () => (await readMetric(relay, 'likewise_outbox_publish_failures_total')) > 0,
      60_000,
    )
    await pause(fullMs)
    disk?.empty()
    await server.stop()
    await server.start()
    await pause(2_000)
    const committed = await load.stop()
    expect(await bed.delivery(120_000)).toMatchObject({ ...delivered, events: committed, arrived: committed })
  }, 300_000)
})
