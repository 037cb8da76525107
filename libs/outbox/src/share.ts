import type { Lease, LeaseTable } from './lease.ts'

/**
 * A relay's fair share: shards / relays, the remainder going to the first relays by owner, so that all relays come
 * to the same answer without talking to each other.
 */
export function shareOf(owner: string, relays: readonly string[], shards: number): number {
  const rank = relays.indexOf(owner)
  const rest = shards % relays.length
  return Math.floor(shards / relays.length) + (rank >= 0 && rank < rest ? 1 : 0)
}

/** How many shards a relay goes for: polling they share them; whoever reads the WAL holds all, the others none. */
export type Claim = 'share' | 'all' | 'none'

/** What a relay should do about its leases: free ones to take up to its share, and how many to give back. */
export function decideShare(
  owner: string,
  { leases, relays }: LeaseTable,
  claim: Claim = 'share',
): { take: Lease[]; giveBack: number[] } {
  const shares = { share: shareOf(owner, relays, leases.length), all: leases.length, none: 0 }
  const share = shares[claim]
  const mine = leases.filter((lease) => lease.owner === owner && !lease.free)
  // Each relay starts at its own place in the ring of shards: two that start together then rarely want the same.
  const start = Math.max(0, relays.indexOf(owner)) * Math.ceil(leases.length / relays.length)
  const ring = [...leases.slice(start), ...leases.slice(0, start)]
  return {
    take: ring.filter((lease) => lease.free).slice(0, Math.max(0, share - mine.length)),
    giveBack: mine.slice(share).map((lease) => lease.shard),
  }
}
