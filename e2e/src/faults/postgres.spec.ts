import { enqueue } from '@likewise/outbox'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { type Bed, makeBed } from './bed.ts'
import { lockCursors, terminate } from './table-lock.ts'
import { delivered } from './delivery.ts'
import { likesOf, startLoad } from './load.ts'

let bed: Bed
beforeEach(async () => {
  bed = await makeBed()
})
afterEach(() => bed.stop())

describe('PostgreSQL', () => {
  it('ends every connection of two relays every 2 s: no event lost, first copies in order (I1, I4, I6)', async () => {
    await Promise.all([bed.relay(), bed.relay()])
    const load = startLoad(bed.db, bed.topic)
    let ended = 0
    for (let round = 0; round < 5; round += 1) {
      await pause(2_000)
      ended += await terminate(bed.db, 'outbox-relay')
    }
    const committed = await load.stop()
    expect(ended).toBeGreaterThan(10)
    expect(await bed.delivery()).toMatchObject({ ...delivered, events: committed, arrived: committed })
  }, 120_000)

  it('keeps the one connection of a small pool waiting past the lease: nothing lost, and it goes on (I1, I4, I6)', async () => {
    const relay = await bed.relay({ env: { RELAY_POOL_SIZE: '1' } })
    const lock = await lockCursors(bed.db)
    await enqueue(bed.db, likesOf(bed.topic, { first: 1, count: 200 }))
    await lock.waiting()
    await pause(5_000)
    expect(relay.process.hasExited()).toBe(false)
    await lock.release()
    expect(await bed.delivery()).toMatchObject({ ...delivered, events: 200, arrived: 200 })
  }, 120_000)
})
