import { sql } from '@likewise/database'
import { urlAs } from '@likewise/database/testing'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { lostLikes, readCounts, settled } from '../invariants.ts'
import { isOk, loadDuring } from '../load-during.ts'
import { type System, eventually, kill } from '../system.ts'
import { type OnTwoServers, startOnTwoServers } from '../two-servers.ts'
import { likewiseJson } from './command-line.ts'
import { type TableLock, lockRepairs, readBackends } from './table-lock.ts'

let bed: OnTwoServers
let system: System
beforeAll(async () => {
  bed = await startOnTwoServers()
  system = bed.system
}, 240_000)
afterAll(() => bed.stop(), 60_000)

interface Verified {
  outcome: string
  found: { productId: number; findings: { kind: string; off: number; of: string[]; detail?: string }[] }[]
  repaired: { productId: number; outcome: string }[]
}

/** As whoever runs the commands. */
const verify = (...words: string[]) =>
  likewiseJson<Verified>(
    {
      ...bed.servers,
      CATALOG_DATABASE_URL: urlAs('likewise_operator', bed.servers.CATALOG_DATABASE_URL),
      METRICS_DATABASE_URL: urlAs('likewise_operator', bed.servers.METRICS_DATABASE_URL),
    },
    ...['verify', '--wait', '100', ...words],
  )

const right = { code: 0, outcome: 'equal', found: [] }

const readRepairs = () =>
  system.metrics.query<{ key: string }>(
    sql`select record_key as key from metrics.inbox_audit where action = 'repair' order by id`,
  )

describe('where catalog and metrics are on two servers, likewise verify --repair', () => {
  it('changes nothing that is right, while likes pour in, and relays and consumers are killed (I2, I3)', async () => {
    const answers = await loadDuring(system, 1_000, async () => {
      for (const name of ['outbox-relay-1', 'metrics-consumer-1', 'outbox-relay-2', 'metrics-consumer-2']) {
        const verified = verify('--repair')
        await eventually(async () => (await readBackends(system.catalog, 'cli')).length > 0)
        await kill(system, name)
        expect(await verified).toMatchObject({ ...right, repaired: [] })
        await eventually(async () => !system.service(name).process.hasExited())
      }
    })
    expect(answers.every(isOk)).toBe(true)
    expect(await lostLikes(system, answers)).toEqual([])
    expect(await readCounts(system)).toEqual(settled)
    expect(await readRepairs()).toEqual([])
  }, 240_000)

  it('explains what is planted under load, with 1, and mends it (I3)', async () => {
    const [missing, doubled, lost] = [1_000, 1_001, 1_002]
    await loadDuring(system, 2_000, async () => {
      const gone = await forgetEvent(missing)
      await system.metrics.execute(sql`
        with counted as (
          update metrics.product_metrics set like_count = like_count + 1 where product_id = ${doubled}::bigint
        )
        update metrics.product_like_windows set added = added + 1
        where product_id = ${doubled}::bigint and bucket_start = (
          select max(bucket_start) from metrics.product_like_windows where product_id = ${doubled}::bigint)`)
      await system.metrics.execute(
        sql`delete from metrics.product_like_windows where product_id = ${lost}::bigint`,
      )
      const { code, found } = await verify()
      expect({ code, told: found.map(tellingOf) }).toEqual({
        code: 1,
        told: [`${missing}: missing -1`, `${doubled}: doubled 1`, `${lost}: bucket 0`],
      })
      expect(found[0]?.findings[0]?.of).toEqual([gone])
      expect(found[1]?.findings[0]?.detail).toMatch(/:00\.000Z, minute$/)
      expect(found[2]?.findings[0]?.detail).toMatch(/:00\.000Z, minute: \d+ too few$/)
      const repaired = await verify('--repair')
      expect(repaired.repaired.map(({ outcome }) => outcome)).toEqual(['mended', 'mended', 'mended'])
      expect(repaired.code).toBe(0)
      expect(await verify()).toMatchObject(right)
    })
    expect(await readCounts(system)).toEqual(settled)
    expect(await readRepairs()).toEqual([missing, doubled, lost].map((product) => ({ key: String(product) })))
  }, 240_000)

  it.each(['producer', 'consumer'] as const)(
    'is in the middle of a repair when PostgreSQL of the %s side is killed and started again, goes on and ends right',
    async (side) => {
      const product = { producer: 1_003, consumer: 1_004 }[side]
      await system.metrics.execute(
        sql`update metrics.product_metrics set like_count = like_count + 7 where product_id = ${product}::bigint`,
      )
      let lock: TableLock | undefined
      await loadDuring(system, { producer: 3_000, consumer: 4_000 }[side], async () => {
        lock = await lockRepairs(system.metrics)
        const repaired = verify('--repair')
        await lock.waiting()
        await bed[side].kill()
        await bed[side].start()
        await lock.release().catch(() => undefined) // where its server was killed, so is the lock
        const { code, repaired: done } = await repaired
        expect({ code, done }).toMatchObject({ code: 0, done: [{ productId: product, outcome: 'mended' }] })
        expect(await verify()).toMatchObject(right)
      })
      expect(await readCounts(system)).toEqual(settled)
    },
    240_000,
  )
})

/** Each kind once: what is lost may be of two minutes. */
const tellingOf = ({ productId, findings }: Verified['found'][number]): string =>
  `${productId}: ${[...new Set(findings.map(({ kind, off }) => `${kind} ${off}`))].join(', ')}`

/** As if one of the product's events had never had its effect. @returns its id. */
async function forgetEvent(product: number): Promise<string> {
  const [gone] = await system.metrics.query<{ id: string }>(sql`
    with gone as (
      delete from metrics.event_handled where event_id = (
        select event_id from metrics.event_handled where aggregate_id = ${String(product)} order by event_id limit 1)
      returning event_id, date_trunc('minute', uuid_extract_timestamp(event_id)) as minute
    ), counted as (
      update metrics.product_metrics set like_count = like_count - 1 where product_id = ${product}::bigint
    ), bucket as (
      update metrics.product_like_windows set added = added - 1
      where product_id = ${product}::bigint and bucket_start = (select minute from gone)
    )
    select event_id::text as id from gone`)
  return gone?.id ?? ''
}
