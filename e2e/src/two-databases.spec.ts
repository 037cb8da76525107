import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { sql } from '@likewise/database'
import { readLikeCount } from './demo/like-count.ts'
import { likewise } from './faults/command-line.ts'
import { ownKafka, ownPostgres } from './faults/own-servers.ts'
import { isSettled, lostLikes, readCounts, settled } from './invariants.ts'
import { sendLike, sendUnlike, spread } from './likes.ts'
import { isOk, loadDuring, takesLikes } from './load-during.ts'
import { type OwnServers, type System, eventually, startSystem } from './system.ts'

const releases: (() => Promise<void>)[] = []
let producer: Awaited<ReturnType<typeof ownPostgres>>
let consumer: Awaited<ReturnType<typeof ownPostgres>>
let servers: OwnServers
let system: System

beforeAll(async () => {
  const kafka = await ownKafka()
  ;[producer, consumer] = await Promise.all([ownPostgres(), ownPostgres()])
  releases.push(
    () => kafka.remove(),
    () => producer.remove(),
    () => consumer.remove(),
  )
  servers = {
    CATALOG_DATABASE_URL: producer.server.url,
    METRICS_DATABASE_URL: consumer.server.url,
    KAFKA_BROKERS: kafka.server.brokers,
  }
  system = await startSystem({}, servers)
  releases.push(() => system.stop())
  // Each has both schemas after the migration. Whoever asks the wrong server shall not find what it looks for.
  await system.catalog.execute(sql`drop schema metrics cascade`)
  await system.metrics.execute(sql`drop schema catalog cascade`)
}, 240_000)
afterAll(async () => {
  for (const release of releases.reverse()) await release()
}, 60_000)

it('likes are counted once where catalog and metrics are on two servers, each of which is killed under load (I1, I2, I3)', async () => {
  const answers = await loadDuring(system, 1_000, async () => {
    await consumer.server.kill()
    await eventually(takesLikes(system, 1_100)) // likes do not need it
    await consumer.server.start()
    await producer.server.kill()
    await producer.server.start()
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
  expect(await likewise(servers, 'status')).toContain('0 events behind')
  expect(await likewise(servers, 'snapshot')).toContain('napshot')
  expect(await likewise(servers, 'rebuild', '--switch')).toContain('Switched')
  expect(await likewise(servers, 'replay', '--from', '2020-01-01T00:00:00Z')).toContain(
    'Nothing was missing.',
  )
  expect(await likewise(servers, 'outbox', 'parked')).toContain('Nothing is parked')
  expect(await likewise(servers, 'dead-letters', 'list')).not.toBe('')
  expect(await likewise(servers, 'outbox', 'recover')).toContain('will be published')
  expect(await likewise(servers, 'outbox', 'republish')).toContain('will be published')
  await eventually(() => isSettled(system), 60_000)
  expect(await readCounts(system)).toEqual(settled)
  const migrated = await likewise(servers, 'migrate')
  expect(migrated.match(/is up to date/g)).toHaveLength(2)
}, 180_000)
