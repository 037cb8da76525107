import { listParked } from '@likewise/outbox'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import { type Bed, isWal, makeBed, readMetric } from './bed.ts'
import { delivered } from './delivery.ts'
import { startLoad } from './load.ts'
import { clockMovedBy } from './moved-clock.ts'

let bed: Bed
beforeEach(async () => {
  bed = await makeBed()
})
afterEach(() => bed.stop())

async function shareWithClockMovedBy(ms: number): Promise<void> {
  const env = { RELAY_LEASE_MS: '6000' } // nor by a busy machine
  const wrong = await bed.relay({ env: { ...env, NODE_OPTIONS: clockMovedBy(ms) } })
  const startedMs = (await readMetric(wrong, 'process_start_time_seconds')) * 1_000
  expect(Math.abs(startedMs - Date.now() - ms)).toBeLessThan(3_600_000)
  const right = await bed.relay({ env })
  const halves = () =>
    Promise.all([wrong, right].map((relay) => readMetric(relay, 'likewise_outbox_leases_held')))
  await eventually(async () => (await halves()).join() === '6,6')
  const load = startLoad(bed.db, bed.topic)
  for (let round = 0; round < 5; round += 1) {
    await pause(1_000)
    expect(await halves()).toEqual([6, 6])
  }
  const events = await load.stop()
  const found = await bed.delivery()
  expect((await listParked(bed.db, { limit: 1 })).map(({ detail }) => detail)).toEqual([])
  expect(found).toEqual({ ...delivered, events, arrived: events, repeats: 0 })
}

// Leases are what a relay that polls works by.
const describePolling = isWal ? describe.skip : describe
describePolling('a relay whose wall clock is wrong', () => {
  it(
    'by a day behind shares the work, and nothing changes hands by it (I1, I4, I9, I10)',
    () => shareWithClockMovedBy(-86_400_000),
    120_000,
  )

  // A topic that keeps the sender's time refuses what is more than an hour ahead (INVALID_TIMESTAMP).
  it(
    'by a day ahead shares the work, and nothing changes hands by it (I1, I4, I9, I10)',
    () => shareWithClockMovedBy(86_400_000),
    120_000,
  )
})
