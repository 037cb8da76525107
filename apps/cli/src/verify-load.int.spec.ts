import { sql } from '@likewise/database'
import { Failure, pause } from '@likewise/service'
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals'
import { explain } from './verify-explain.ts'
import { readFacts } from './verify-facts.ts'
import { atOneMoment } from './verify-moment.ts'
import { repairProducts } from './verify-repair.ts'
import { type VerifyWorld, openWorld } from './verify-testing.ts'

jest.setTimeout(180_000)

const [users, products] = [300, 20]
let world: VerifyWorld
let stopLoad: () => Promise<number>

/** Likes and unlikes as fast as they are taken, some products far more than others; relay and consumer begin anew all the time. */
function startLoad(): () => Promise<number> {
  const stopping = new AbortController()
  let written = 0
  const writer = async () => {
    while (!stopping.signal.aborted) {
      const changes = new Map(
        Array.from({ length: 40 }, () => {
          const user = 1 + Math.floor(Math.random() * users)
          const product = 1 + Math.floor(Math.random() ** 3 * products)
          return [`${String(user)}/${String(product)}`, { user, product, liked: Math.random() < 0.6 }]
        }),
      )
      await world.change([...changes.values()]).catch((error: unknown) => {
        if (!(error instanceof Failure && error.code === 'DATABASE_BUSY')) throw error
      })
      written += changes.size
      await pause(15)
    }
  }
  const restarts = async () => {
    while (!stopping.signal.aborted) {
      await pause(1_000 + 4_000 * Math.random(), stopping.signal)
      await world.stopConsumer()
      world.startConsumer()
      await pause(1_000 + 4_000 * Math.random(), stopping.signal)
      await world.stopRelay()
      world.startRelay()
    }
  }
  const running = Promise.all([writer(), writer(), restarts()])
  running.catch(() => undefined) // told by stop
  return async () => {
    stopping.abort()
    await running
    return written
  }
}

beforeAll(async () => {
  world = await openWorld()
  world.startRelay()
  world.startConsumer()
  stopLoad = startLoad()
  await world.handled(1)
})
afterAll(async () => {
  await stopLoad()
  await world.stop()
})

describe('while likes pour in, and relay and consumer begin anew', () => {
  it('verify never sees a drift', async () => {
    for (let i = 0; i < 4; i += 1) {
      const { code, found, outcome, likes } = await world.verifyJson('--wait', '60')
      expect({ code, found, outcome }).toEqual({ code: 0, found: [], outcome: 'equal' })
      expect(likes).toBeGreaterThan(0)
    }
  })

  it('nothing is found where every product is looked at closely, and a repair of each changes nothing', async () => {
    const { sides } = world
    const patience = { patienceMs: 60_000, tell: () => undefined }
    const outcome = await atOneMoment(sides, patience, async (moment) => {
      const all = Array.from({ length: products }, (_, i) => i + 1)
      const facts = await readFacts(moment, sides, all)
      expect(facts.flatMap((one) => explain(one).findings)).toEqual([])
      expect(facts.some(({ events }) => events.some(({ committed }) => !committed))).toBe(true)
      const repaired: string[] = []
      for await (const { outcome: its } of repairProducts(sides, moment, { facts, actor: 'test' }))
        repaired.push(its)
      return { repaired: [...new Set(repaired)] }
    })
    expect(outcome).toEqual({ repaired: ['nothing to do'] })
    expect(await world.metrics.query(sql`select * from metrics.inbox_audit`)).toEqual([])
    expect((await world.verify('--wait', '60')).code).toBe(0)
  })

  it('finds what is planted, and a repair makes it exact', async () => {
    for (let i = 0; i < 2; i += 1) {
      const [hot, cold] = [1, 10 + i]
      await world.metrics.execute(sql`
        update metrics.product_metrics set like_count = like_count + 7 where product_id = ${hot}::bigint`)
      await world.metrics.tx(async (tx) => {
        // An event that never had its effect.
        const [gone] = await tx.query<{ type: string; minute: string }>(sql`
          delete from metrics.event_handled where event_id = (
            select event_id from metrics.event_handled
            where aggregate_id = ${String(cold)} and event_type = 'catalog.like.added.v1' order by event_id limit 1)
          returning event_type as type, date_trunc('minute', uuid_extract_timestamp(event_id))::text as minute`)
        await tx.execute(sql`
          update metrics.product_metrics set like_count = like_count - 1 where product_id = ${cold}::bigint`)
        await tx.execute(sql`
          update metrics.product_like_windows set added = added - 1
          where product_id = ${cold}::bigint and bucket_start = ${gone?.minute}::timestamptz`)
      })
      const repaired = await world.verifyJson('--wait', '60', '--repair')
      const kinds = Object.fromEntries(repaired.found.map(({ productId, findings }) => [productId, findings.map(({ kind, off }) => `${kind} ${String(off)}`)])) // prettier-ignore
      expect(kinds).toEqual({ [hot]: ['changed 7'], [cold]: ['missing -1'] })
      expect(repaired.repaired.map(({ outcome }) => outcome)).toEqual(['mended', 'mended'])
      const { code, found } = await world.verifyJson('--wait', '60')
      expect({ code, found }).toEqual({ code: 0, found: [] })
    }
    expect(await stopLoad()).toBeGreaterThan(1_000)
    expect((await world.verify('--wait', '60')).code).toBe(0)
    const [apart] = await world.metrics.query<{ n: number }>(sql`
      select count(*)::int as n from metrics.product_metrics as m
      where like_count <> (select sum(added - removed) from (
        select * from metrics.product_like_windows union all select * from metrics.product_like_hours
        union all select * from metrics.product_like_days) as w where w.product_id = m.product_id)`)
    expect(apart).toEqual({ n: 0 })
  })
})
