import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import type { Lease } from './lease.ts'
import { decideShare, shareOf } from './share.ts'

const owners = fc.uniqueArray(fc.uuid(), { minLength: 1, maxLength: 20 }).map((list) => list.sort())
const shardCounts = fc.integer({ min: 0, max: 48 })

/** Leases as a relay may find them: held by a living relay, by one that is gone, or free. */
const tables = owners.chain((relays) =>
  fc
    .array(
      fc.record({
        owner: fc.oneof(fc.constantFrom(...relays), fc.uuid(), fc.constant(null)),
        ranOut: fc.boolean(),
        epoch: fc.bigInt({ min: 0n, max: 9n }),
      }),
      { maxLength: 24 },
    )
    .map((list) => ({
      relays,
      leases: list.map(({ owner, ranOut, epoch }, shard): Lease => {
        return { shard, owner, epoch, free: owner === null || ranOut }
      }),
    })),
)

describe('the fair share', () => {
  it('shares out every shard, whatever the number of relays', () => {
    fc.assert(
      fc.property(owners, shardCounts, (relays, shards) => {
        const shares = relays.map((owner) => shareOf(owner, relays, shards))
        expect(shares.reduce((sum, share) => sum + share, 0)).toBe(shards)
      }),
    )
  })

  it('never differs by more than one shard between two relays', () => {
    fc.assert(
      fc.property(owners, shardCounts, (relays, shards) => {
        const shares = relays.map((owner) => shareOf(owner, relays, shards))
        expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
      }),
    )
  })

  it.each([
    [1, [12]],
    [2, [6, 6]],
    [5, [3, 3, 2, 2, 2]],
    [13, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]],
  ])('gives %i relays of 12 shards %j', (count, shares) => {
    const relays = Array.from({ length: count }, (_, i) => `relay-${String(i).padStart(2, '0')}`)
    expect(relays.map((owner) => shareOf(owner, relays, 12))).toEqual(shares)
  })
})

describe('what a relay decides about its leases', () => {
  it('never takes more than its share, and takes all of it while enough are free', () => {
    fc.assert(
      fc.property(tables, ({ relays, leases }) => {
        for (const owner of relays) {
          const { take, giveBack } = decideShare(owner, { relays, leases })
          const mine = leases.filter((lease) => lease.owner === owner && !lease.free).length
          const free = leases.filter((lease) => lease.free).length
          const share = shareOf(owner, relays, leases.length)
          expect(take).toHaveLength(Math.min(Math.max(0, share - mine), free))
          expect(mine - giveBack.length + take.length).toBeLessThanOrEqual(share)
        }
      }),
    )
  })

  it('gives back exactly what exceeds its share, and only its own', () => {
    fc.assert(
      fc.property(tables, ({ relays, leases }) => {
        for (const owner of relays) {
          const { giveBack } = decideShare(owner, { relays, leases })
          const mine = leases
            .filter((lease) => lease.owner === owner && !lease.free)
            .map(({ shard }) => shard)
          const share = shareOf(owner, relays, leases.length)
          expect(giveBack).toHaveLength(Math.max(0, mine.length - share))
          expect(mine).toEqual(expect.arrayContaining(giveBack))
          expect(new Set(giveBack).size).toBe(giveBack.length)
        }
      }),
    )
  })

  it('takes only free leases, none of them twice', () => {
    fc.assert(
      fc.property(tables, ({ relays, leases }) => {
        for (const owner of relays) {
          const { take } = decideShare(owner, { relays, leases })
          expect(take.every((lease) => lease.free)).toBe(true)
          expect(new Set(take.map(({ shard }) => shard)).size).toBe(take.length)
        }
      }),
    )
  })

  it('lets relays that start together want different shards', () => {
    const relays = ['a', 'b', 'c', 'd']
    const leases = Array.from({ length: 12 }, (_, shard): Lease => ({
      shard,
      owner: null,
      epoch: 0n,
      free: true,
    }))
    const wanted = relays.flatMap((owner) =>
      decideShare(owner, { relays, leases }).take.map(({ shard }) => shard),
    )
    expect(wanted.sort((a, b) => a - b)).toEqual(leases.map(({ shard }) => shard))
  })

  it('comes to a fair split, all shards held, by itself, from any table', () => {
    fc.assert(
      fc.property(tables, ({ relays, leases }) => {
        const table = leases.map((lease) => ({
          ...lease,
          free: lease.free || !relays.includes(lease.owner ?? ''),
        }))
        for (let round = 0; round < 2; round += 1) {
          for (const owner of relays) {
            const { take, giveBack } = decideShare(owner, { relays, leases: table })
            for (const { shard } of take) Object.assign(table[shard]!, { owner, free: false })
            for (const shard of giveBack) Object.assign(table[shard]!, { owner: null, free: true })
          }
        }
        const held = relays.map(
          (owner) => table.filter((lease) => lease.owner === owner && !lease.free).length,
        )
        expect(held).toEqual(relays.map((owner) => shareOf(owner, relays, leases.length)))
      }),
    )
  })
})
