import { describe, expect, it } from '@jest/globals'
import { type SlotHealth, type WalHealth, slotFault } from './slot.ts'

const slot: SlotHealth = {
  database: 'likewise',
  plugin: 'pgoutput',
  ours: true,
  active: false,
  activePid: null,
  confirmedFlushLsn: 1n,
  keptBytes: 0,
  lagBytes: 0,
  walStatus: 'reserved',
  safeWalSize: null,
  invalidationReason: null,
  moved: false,
}
const fault = (health: Partial<WalHealth>) => slotFault({ mode: 'wal', slot, publicationOk: true, ...health })

describe('a replication slot', () => {
  it('is fine while its WAL is there, whoever reads it', () => {
    for (const walStatus of ['reserved', 'extended', 'unreserved']) {
      expect(fault({ slot: { ...slot, walStatus, active: true } })).toBeNull()
    }
  })

  it.each<[string, Partial<WalHealth>, RegExp]>([
    ['is missing', { slot: null }, /does not exist/],
    ['lost its WAL', { slot: { ...slot, walStatus: 'lost' } }, /gave it up \(wal_status lost\)/],
    ['was idle for too long', { slot: { ...slot, invalidationReason: 'idle_timeout' } }, /idle_timeout/],
    ['was moved', { slot: { ...slot, moved: true } }, /moved forward or made anew/],
    ['has no publication', { publicationOk: false }, /publication likewise_outbox is missing/],
    ["is somebody else's", { slot: { ...slot, ours: false, plugin: 'wal2json' } }, /plugin wal2json/],
  ])('that %s is refused in a sentence with the command that mends it', (_, health, sentence) => {
    expect(fault(health)).toMatch(sentence)
    expect(fault(health)).toMatch(/likewise outbox wal disable/)
  })

  it('is nobody’s business while the outbox is polled', () => {
    expect(fault({ mode: 'poll', slot: null, publicationOk: false })).toBeNull()
  })
})
