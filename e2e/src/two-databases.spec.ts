import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { readLikeCount } from './demo/like-count.ts'
import { likewise } from './faults/command-line.ts'
import { isSettled, lostLikes, readCounts, settled } from './invariants.ts'
import { sendLike, sendUnlike, spread } from './likes.ts'
import { isOk, loadDuring, takesLikes } from './load-during.ts'
import { type System, eventually } from './system.ts'
import { type OnTwoServers, startOnTwoServers } from './two-servers.ts'

let bed: OnTwoServers
let system: System

beforeAll(async () => {
  bed = await startOnTwoServers()
  system = bed.system
}, 240_000)
afterAll(() => bed.stop(), 60_000)

it('likes are counted once where catalog and metrics are on two servers, each of which is killed under load (I1, I2, I3)', async () => {
  const answers = await loadDuring(system, 1_000, async () => {
    await bed.consumer.kill()
    await eventually(takesLikes(system, 1_100)) // likes do not need it
    await bed.consumer.start()
    await bed.producer.kill()
    await bed.producer.start()
    await eventually(takesLikes(system, 1_101))
  })
  expect(answers.some(isOk)).toBe(true)
  expect(await lostLikes(system, answers)).toEqual([])
  expect(await readCounts(system)).toEqual(settled)
}, 180_000)

it('unlikes and reads too (I2, I3)', async () => {
  for (const send of [sendLike, sendUnlike])
    await spread(100, 10, async (i) => {
      await send(system.apis[i % 2] ?? '', i + 1, 2_000 + (i % 5))
    })
  await eventually(() => isSettled(system))
  expect(await readLikeCount(system.metricsApi, 2_000)).toBe(0)
}, 60_000)

it('every command asks the server that its side is on', async () => {
  expect(await likewise(bed.servers, 'status')).toContain('0 events behind')
  expect(await likewise(bed.servers, 'snapshot')).toContain('napshot')
  expect(await likewise(bed.servers, 'rebuild', '--switch')).toContain('Switched')
  expect(await likewise(bed.servers, 'replay', '--from', '2020-01-01T00:00:00Z')).toContain(
    'Nothing was missing.',
  )
  expect(await likewise(bed.servers, 'outbox', 'parked')).toContain('Nothing is parked')
  expect(await likewise(bed.servers, 'dead-letters', 'list')).not.toBe('')
  expect(await likewise(bed.servers, 'outbox', 'recover')).toContain('will be published')
  expect(await likewise(bed.servers, 'outbox', 'republish')).toContain('will be published')
  await eventually(() => isSettled(system), 60_000)
  expect(await readCounts(system)).toEqual(settled)
  const migrated = await likewise(bed.servers, 'migrate')
  expect(migrated.match(/is up to date/g)).toHaveLength(2)
}, 180_000)
