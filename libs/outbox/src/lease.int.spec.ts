import { randomUUID } from 'node:crypto'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, openTx, readWaiting } from '@likewise/database/testing'
import { pause } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { type Lease, leaveRelays, releaseLeases, renewLeases, takeLeases } from './lease.ts'
import { purgeRing } from './purge.ts'
import { until } from './testing.ts'

const minuteMs = 60_000
const [one, two] = [randomUUID(), randomUUID()]
let test: TestDatabase

beforeAll(async () => {
  test = await freshDatabase('lease')
})
afterAll(() => test.drop())
beforeEach(async () => {
  await test.db.execute(sql`update catalog.outbox_leases set owner = null, epoch = 0`)
  await test.db.execute(sql`delete from catalog.outbox_relays`)
})

const shardsOf = (leases: readonly Lease[]): number[] =>
  leases.map(({ shard }) => shard).sort((a, b) => a - b)

async function free(owner: string, leaseMs = minuteMs): Promise<Lease[]> {
  return (await renewLeases(test.as('likewise_relay'), owner, leaseMs)).leases.filter((lease) => lease.free)
}

/** Takes every free lease for `owner`. */
async function takeAll(owner: string, leaseMs = minuteMs): Promise<Lease[]> {
  return takeLeases(test.as('likewise_relay'), owner, await free(owner, leaseMs))
}

async function leaseOf(shard: number): Promise<{ owner: string | null; epoch: bigint; leftMs: number }> {
  const [row] = await test.db.query<{ owner: string | null; epoch: bigint; leftMs: number }>(sql`
    select owner::text as owner, epoch,
           (extract(epoch from greatest(seen_until, '1970-01-01') - now()) * 1000)::float8 as "leftMs"
    from catalog.outbox_leases left join catalog.outbox_relays using (owner) where shard = ${shard}::smallint`)
  return row!
}

const untilOneWaits = () =>
  until('a statement waits for the other', async () => (await readWaiting(test.db)).length === 1)

/** As if `owner` had said so, from now on. */
async function seenUntil(owner: string, away: string): Promise<void> {
  await test.db.execute(
    sql`update catalog.outbox_relays set seen_until = now() + ${away}::interval where owner = ${owner}::uuid`,
  )
}

describe('taking leases', () => {
  it('finds every shard free in a new outbox, and takes them with epoch 1', async () => {
    const taken = await takeAll(one)
    expect(shardsOf(taken)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    expect(taken.every(({ epoch, owner }) => epoch === 1n && owner === one)).toBe(true)
    expect((await leaseOf(0)).leftMs).toBeGreaterThan(minuteMs / 2)
  })

  it('lets one of two relays that want the same shard have it', async () => {
    const wanted = await free(one)
    const [byOne, byTwo] = await Promise.all([
      takeLeases(test.as('likewise_relay'), one, wanted),
      takeLeases(test.as('likewise_relay'), two, wanted),
    ])
    expect(shardsOf([...byOne, ...byTwo])).toEqual(shardsOf(wanted))
  })

  it('leaves alone what another relay holds', async () => {
    const stale = await free(two)
    await takeAll(one)
    expect(await free(two)).toEqual([])
    expect(await takeLeases(test.as('likewise_relay'), two, stale)).toEqual([])
    const holding = stale.map((lease) => ({ ...lease, epoch: 1n }))
    expect(await takeLeases(test.as('likewise_relay'), two, holding)).toEqual([])
    expect((await leaseOf(3)).owner).toBe(one)
  })

  it('takes a lease that ran out, with the next epoch, and not before', async () => {
    await takeAll(one, 400)
    expect(await free(two)).toEqual([])
    while ((await free(two)).length < 12) await pause(20)
    expect((await leaseOf(0)).leftMs).toBeLessThanOrEqual(0)
    const taken = await takeAll(two)
    expect(taken).toHaveLength(12)
    expect(taken.every(({ epoch }) => epoch === 2n)).toBe(true)
  })

  it('takes a lease that lies so far in the future that a clock must have been wrong', async () => {
    const three = randomUUID()
    const wanted = await free(three)
    await takeLeases(test.as('likewise_relay'), three, wanted.filter(({ shard }) => shard === 4)) // prettier-ignore
    await takeAll(one)
    await seenUntil(three, 'infinity')
    await seenUntil(one, '9 min')
    const taken = await takeAll(two)
    expect(taken).toEqual([{ shard: 4, owner: two, epoch: 2n, free: false }])
  })

  it('does nothing when the epoch has moved on since the table was read', async () => {
    const stale = await free(two)
    await takeAll(one)
    await releaseLeases(test.as('likewise_relay'), one, [7])
    expect(await takeLeases(test.as('likewise_relay'), two, stale)).toEqual([])
    expect((await leaseOf(7)).owner).toBeNull()
  })
})

describe('a relay that renews at the moment another takes its shards over', () => {
  const heldBy = (owner: string, leases: readonly Lease[]) =>
    shardsOf(leases.filter((lease) => lease.owner === owner && !lease.free))

  it('keeps them where it was first', async () => {
    await takeAll(one, 0)
    const wanted = await free(two)
    const renewing = await openTx(test.db)
    const renewed = await renewLeases(renewing.tx, one, minuteMs)
    expect(heldBy(one, renewed.leases)).toHaveLength(12)
    const taking = takeLeases(test.as('likewise_relay'), two, wanted)
    await untilOneWaits()
    await renewing.commit()
    expect(await taking).toEqual([])
    expect(await leaseOf(0)).toMatchObject({ owner: one, epoch: 1n })
  })

  it.each(['had run out', 'had no row any more'])(
    'holds none of them where it was second and %s',
    async (how) => {
      await takeAll(one, 0)
      const wanted = await free(two)
      if (how === 'had no row any more') await leaveRelays(test.as('likewise_relay'), one)
      const takeover = await openTx(test.db)
      expect(await takeLeases(takeover.tx, two, wanted)).toHaveLength(12)
      const renewing = renewLeases(test.as('likewise_relay'), one, minuteMs)
      await untilOneWaits()
      await takeover.commit()
      const { leases } = await renewing
      expect(heldBy(one, leases)).toEqual([])
      expect(await leaseOf(0)).toMatchObject({ owner: two, epoch: 2n })
    },
  )

  it('keeps them where it was first and had no row any more', async () => {
    await takeAll(one, 0)
    const wanted = await free(two)
    await leaveRelays(test.as('likewise_relay'), one)
    const renewing = await openTx(test.db)
    const renewed = await renewLeases(renewing.tx, one, minuteMs)
    expect(heldBy(one, renewed.leases)).toHaveLength(12)
    const taking = takeLeases(test.as('likewise_relay'), two, wanted)
    await untilOneWaits()
    await renewing.commit()
    expect(await taking).toEqual([])
  })
})

describe('keeping leases', () => {
  it('renews what the relay holds, without a new epoch', async () => {
    await takeAll(one, 5_000)
    await renewLeases(test.as('likewise_relay'), one, minuteMs)
    const lease = await leaseOf(0)
    expect(lease).toMatchObject({ owner: one, epoch: 1n })
    expect(lease.leftMs).toBeGreaterThan(30_000)
  })

  it('renews nobody else', async () => {
    await takeAll(one, 5_000)
    await renewLeases(test.as('likewise_relay'), two, minuteMs)
    expect((await leaseOf(0)).leftMs).toBeLessThanOrEqual(5_000)
  })

  it('keeps a lease that ran out while nobody wanted it', async () => {
    await takeAll(one, 0)
    const { leases } = await renewLeases(test.as('likewise_relay'), one, minuteMs)
    expect(leases.every(({ owner, epoch, free }) => owner === one && epoch === 1n && !free)).toBe(true)
  })
})

describe('giving leases back', () => {
  it('frees the shards at once and keeps the epoch, which never falls', async () => {
    await takeAll(one)
    await releaseLeases(test.as('likewise_relay'), one, [1, 2])
    expect(shardsOf(await free(two))).toEqual([1, 2])
    expect((await takeAll(two)).map(({ epoch }) => epoch)).toEqual([2n, 2n])
  })

  it('cannot give back what belongs to another relay', async () => {
    await takeAll(one)
    await releaseLeases(test.as('likewise_relay'), two, [1, 2])
    expect((await leaseOf(1)).owner).toBe(one)
  })
})

describe('who is alive', () => {
  it('counts a relay without a shard, and itself', async () => {
    await renewLeases(test.as('likewise_relay'), two, minuteMs)
    const { relays } = await renewLeases(test.as('likewise_relay'), one, minuteMs)
    expect(relays).toEqual([one, two].sort())
  })

  it('forgets a relay that left, and one that fell silent', async () => {
    await renewLeases(test.as('likewise_relay'), two, minuteMs)
    await leaveRelays(test.as('likewise_relay'), two)
    await renewLeases(test.as('likewise_relay'), randomUUID(), 0)
    expect((await renewLeases(test.as('likewise_relay'), one, minuteMs)).relays).toEqual([one])
  })

  it('removes the rows of relays that have been gone for an hour, with the purge', async () => {
    const old = randomUUID()
    await renewLeases(test.as('likewise_relay'), old, minuteMs)
    await seenUntil(old, '-61 min')
    await renewLeases(test.as('likewise_relay'), one, minuteMs)
    await purgeRing(test.as('likewise_relay'), { retentionDays: 7, actor: 'test' })
    const rows = await test.db.query<{ owner: string }>(
      sql`select owner::text as owner from catalog.outbox_relays`,
    )
    expect(rows).toEqual([{ owner: one }])
  })
})
