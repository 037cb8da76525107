import { pgClient } from '@likewise/database/testing'
import { pause } from '@likewise/service'
import { afterEach, describe, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import { type Bed, makeBed, readMetric } from './bed.ts'
import { terminate } from './table-lock.ts'
import { delivered } from './delivery.ts'
import { openLink } from './link.ts'
import { startLoad } from './load.ts'
import { ownPostgres } from './own-servers.ts'

let bed: Bed
const ends: (() => Promise<unknown>)[] = []
/** Whatever went wrong; the last one opened is closed first. */
const atEnd = (work: () => Promise<unknown>) => ends.unshift(work)
afterEach(async () => {
  for (const work of ends.splice(0)) await work()
}, 60_000)

async function bedOnOwnPostgres() {
  const { server, remove } = await ownPostgres()
  atEnd(remove)
  bed = await makeBed({ databaseUrl: server.url })
  atEnd(() => bed.stop())
  return server
}

/** A relay over a link that `disturb` may spoil, under load; afterwards all has arrived. */
async function underLoad(disturb: (link: Awaited<ReturnType<typeof openLink>>) => Promise<void>) {
  bed = await makeBed()
  atEnd(() => bed.stop())
  const url = new URL(bed.databaseUrl)
  const link = await openLink(url.host)
  atEnd(() => link.stop())
  url.host = link.address
  await Promise.all([bed.relay({ databaseUrl: url.href }), bed.relay({ databaseUrl: url.href })])
  const load = startLoad(bed.db, bed.topic)
  await pause(2_000)
  await disturb(link)
  await pause(2_000)
  const committed = await load.stop()
  expect(committed).toBeGreaterThan(1_000)
  expect(await bed.delivery(120_000)).toMatchObject({ ...delivered, events: committed, arrived: committed })
}

describe('PostgreSQL', () => {
  it('ends every connection of two relays every 2 s for 20 s: first copies in order (I1, I4, I6)', async () => {
    await underLoad(async () => {
      for (let round = 0; round < 10; round += 1) {
        expect(await terminate(bed.db, 'outbox-relay')).toBeGreaterThan(0)
        await pause(2_000)
      }
    })
  }, 240_000)

  it.each(['SIGQUIT', 'SIGKILL'] as const)(
    'stops at once (%s) and starts again, three times under load: what was committed arrives, in order (I1, I4, I5, I6)',
    async (signal) => {
      const server = await bedOnOwnPostgres()
      await Promise.all([bed.relay(), bed.relay()])
      const load = startLoad(bed.db, bed.topic)
      for (let round = 0; round < 3; round += 1) {
        await pause(3_000)
        await server.process?.stop(signal, 10_000) // SIGQUIT is what pg_ctl stop -m immediate sends
        await pause(2_000)
        await server.start()
      }
      await pause(3_000)
      const committed = await load.stop()
      const found = await bed.delivery(120_000)
      expect(found).toMatchObject(delivered)
      // An insert whose answer was lost may be there.
      expect(found.events).toBeGreaterThanOrEqual(committed)
    },
    240_000,
  )

  it('has no connection left for the relays for 15 s: they go on when there is one (I1, I4, I6)', async () => {
    await bedOnOwnPostgres()
    const relays = await Promise.all([bed.relay(), bed.relay()])
    const load = startLoad(bed.db, bed.topic)
    await pause(2_000)
    const others = await takeAllConnections()
    const published = await readPublished()
    await pause(15_000)
    expect(others.length).toBeGreaterThan(100)
    expect(relays.map(({ process }) => process.hasExited())).toEqual([false, false])
    await Promise.all(others.map((client) => client.end()))
    await eventually(async () => (await readPublished()) > published, 60_000)
    await load.stop()
    expect(await bed.delivery(120_000)).toMatchObject(delivered)

    async function readPublished(): Promise<number> {
      const counts = relays.map((relay) => readMetric(relay, 'likewise_outbox_published_total'))
      return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0)
    }
  }, 240_000)

  it('answers each request 1.5 s later for 30 s: first copies in order (I1, I4, I6)', async () => {
    await underLoad(async (link) => {
      link.delay(750)
      await pause(30_000)
      link.delay(0)
    })
  }, 240_000)

  it('falls silent for 30 s: first copies in order (I1, I4, I6)', async () => {
    await underLoad(async (link) => {
      link.hold('up', 'down')
      await pause(30_000)
      link.release()
    })
  }, 240_000)
})

/** Opens connections until none is left, those of the relays included. */
async function takeAllConnections() {
  const others: Awaited<ReturnType<typeof pgClient>>[] = []
  for (;;) {
    try {
      others.push(await pgClient(bed.databaseUrl))
    } catch (error) {
      if (!(error instanceof Error && error.message.includes('too many clients'))) throw error
      const [first] = others
      if (first === undefined) throw error
      const { rowCount } = await first.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'likewise-outbox-relay'`,
      )
      if (rowCount === 0) return others
    }
  }
}
