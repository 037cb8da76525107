import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { isSettled } from './invariants.ts'
import { sendLike, sendUnlike, spread } from './likes.ts'
import { readTopic, turnsOfPairs } from './order.ts'
import { type System, eventually, kill, startSystem } from './system.ts'

let system: System
beforeAll(async () => {
  system = await startSystem({ relays: 2, consumers: 1 })
}, 180_000)
afterAll(() => system.stop(), 60_000)

it('keeps the order of each (user, product) with two relays, one of them killed (I4)', async () => {
  // Each pair toggles: its own requests one after the other, over both APIs; pairs go on side by side.
  await Promise.all([
    spread(40, 20, async (pair) => {
      for (let turn = 0; turn < 10; turn += 1) {
        const api = system.apis[(pair + turn) % 2] ?? ''
        await (turn % 2 === 0 ? sendLike : sendUnlike)(api, pair + 1, 500 + (pair % 8))
      }
    }),
    kill(system, 'outbox-relay-1'),
  ])
  await eventually(() => isSettled(system), 60_000)

  const turns = turnsOfPairs(await readTopic(system.stack.servers.kafkaBrokers))
  expect(turns.size).toBe(40)
  for (const [, pair] of turns) expect(pair).toBe('+-+-+-+-+-')
}, 120_000)
