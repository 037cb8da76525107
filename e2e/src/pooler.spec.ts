import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { type PgBouncer, pgBouncerMissing, startPgBouncer } from '@likewise/database/testing'
import { readLikeCount } from './demo/like-count.ts'
import { ownKafka, ownPostgres } from './faults/own-servers.ts'
import { likewise } from './faults/command-line.ts'
import { isSettled, lostLikes, readCounts, settled } from './invariants.ts'
import { sendLike, sendUnlike, spread } from './likes.ts'
import { isOk, loadDuring, takesLikes } from './load-during.ts'
import { type OwnServers, type System, eventually, startSystem } from './system.ts'

const missing = pgBouncerMissing()
const describeIfThere = missing === undefined ? describe : describe.skip
if (missing !== undefined) process.stderr.write(`Skipped: all services through PgBouncer. ${missing}\n`)

const poolSize = 6

describeIfThere(
  'all services through PgBouncer in transaction mode, with fewer connections than clients',
  () => {
    const releases: (() => Promise<void>)[] = []
    let postgres: Awaited<ReturnType<typeof ownPostgres>>
    let pooler: PgBouncer
    let servers: OwnServers
    let system: System

    beforeAll(async () => {
      const [database, kafka] = await Promise.all([ownPostgres(), ownKafka()])
      postgres = database
      releases.push(
        () => postgres.remove(),
        () => kafka.remove(),
      )
      pooler = await startPgBouncer(postgres.server.url, poolSize)
      releases.push(() => pooler.stop())
      servers = {
        CATALOG_DATABASE_URL: pooler.url,
        METRICS_DATABASE_URL: pooler.url,
        CATALOG_DATABASE_DIRECT_URL: postgres.server.url,
        METRICS_DATABASE_DIRECT_URL: postgres.server.url,
        KAFKA_BROKERS: kafka.server.brokers,
      }
      system = await startSystem({}, servers)
      releases.push(() => system.stop())
    }, 240_000)
    afterAll(async () => {
      for (const release of releases.reverse()) await release()
    }, 60_000)

    it('counts every like once, and none is refused (I1, I2, I3)', async () => {
      let most = { clients: 0, servers: 0 }
      const answers = await loadDuring(system, 1_000, async () => {
        await eventually(async () => {
          const { clients, servers } = await pooler.connections()
          most = { clients: Math.max(most.clients, clients), servers: Math.max(most.servers, servers) }
          return most.clients > 2 * poolSize
        })
      })
      expect(answers.every(isOk)).toBe(true)
      expect(await lostLikes(system, answers)).toEqual([])
      expect(await readCounts(system)).toEqual(settled)
      expect(most.servers).toBeLessThanOrEqual(poolSize)
    }, 120_000)

    it('loses and doubles nothing when PgBouncer is killed under load (I1, I2, I3)', async () => {
      const answers = await loadDuring(system, 2_000, async () => {
        for (const product of [2_100, 2_101]) {
          await pooler.restart()
          await eventually(takesLikes(system, product))
        }
      })
      expect(await lostLikes(system, answers)).toEqual([])
      expect(await readCounts(system)).toEqual(settled)
    }, 180_000)

    it('loses and doubles nothing when PostgreSQL behind it is killed under load (I1, I2, I3)', async () => {
      const answers = await loadDuring(system, 3_000, async () => {
        await postgres.server.kill()
        await postgres.server.start()
        await eventually(takesLikes(system, 3_100))
      })
      expect(await lostLikes(system, answers)).toEqual([])
      expect(await readCounts(system)).toEqual(settled)
    }, 180_000)

    it('reads and takes back (I2, I3), and the command line works as well', async () => {
      for (const send of [sendLike, sendUnlike])
        await spread(200, 10, async (i) => {
          await send(system.apis[i % 2] ?? '', i + 1, 4_000 + (i % 5))
        })
      await eventually(() => isSettled(system))
      expect(await readLikeCount(system.metricsApi, 4_000)).toBe(0)
      expect(await likewise(servers, 'status')).toContain('0 events behind')
      expect(await likewise(servers, 'rebuild')).toContain('Both models say the same.')
      expect(await likewise(servers, 'migrate')).toContain('up to date')
      const { CATALOG_DATABASE_DIRECT_URL: _, ...pooled } = servers
      expect(await likewise(pooled, 'outbox', 'wal', 'status')).toMatch(/mode +poll/)
    }, 120_000)
  },
)
