import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { type Database, connectDatabase, sql } from '@likewise/database'
import {
  type App,
  type RunningService,
  prepareTopics,
  removeHome,
  startService,
  stopService,
  workspaceRoot,
} from '@likewise/local-servers'
import { buildLogger } from '@likewise/service'
import { readLikeCount } from './demo/like-count.ts'
import { likewise, likewiseOf } from './faults/command-line.ts'
import { ownKafka, ownPostgres } from './faults/own-servers.ts'
import { lostLikes, readCounts, settled } from './invariants.ts'
import { isOk, loadDuring } from './load-during.ts'
import { releaseBefore } from './release-before.ts'
import { eventually, freePorts } from './system.ts'

const before = await releaseBefore()
const describeIfThere = before.missing === undefined ? describe : describe.skip
if (before.missing !== undefined)
  process.stderr.write(`Skipped: the rolling upgrade from the release before. ${before.missing}\n`)

const [old, now] = [before.root ?? '', workspaceRoot]

// Whoever reads comes before whoever writes: a new producer may send what only a new consumer knows.
const order: readonly App[] = ['metrics-consumer', 'outbox-relay', 'metrics-api', 'like-api']

describeIfThere('a rolling upgrade from the release before', () => {
  const releases: (() => Promise<void>)[] = []
  let home: string
  let ports: Record<App, number>
  let env: Record<string, string>
  let db: Database
  const services = new Map<string, RunningService>()

  /** What takes likes now. A load balancer asks nobody else. */
  const system = {
    get apis() {
      return [...services.values()].filter(({ plan }) => plan.app === 'like-api').map(({ url }) => url)
    },
    get catalog() {
      return db
    },
    get metrics() {
      return db
    },
  }

  beforeAll(async () => {
    const [postgres, kafka] = await Promise.all([ownPostgres(), ownKafka()])
    home = await mkdtemp(join(tmpdir(), 'likewise-upgrade-'))
    releases.push(
      () => postgres.remove(),
      () => kafka.remove(),
      () => removeHome(home),
    )
    ports = await freePorts()
    env = {
      PATH: process.env['PATH'] ?? '',
      CATALOG_DATABASE_URL: postgres.server.url,
      METRICS_DATABASE_URL: postgres.server.url,
      KAFKA_BROKERS: kafka.server.brokers,
      RELAY_LEASE_MS: '2000',
    }
    db = connectDatabase({
      url: postgres.server.url,
      poolSizeMax: 3,
      connectTimeoutMs: 5_000,
      statementTimeoutMs: 30_000,
      applicationName: 'likewise-e2e',
    })
    releases.push(() => db.stop())
    await likewiseOf(old, env, 'migrate')
    await prepareTopics(kafka.server.brokers, buildLogger({ service: 'e2e', level: 'silent' }))
    await Promise.all(order.flatMap((app) => [1, 2].map((n) => run(app, n, old))))
  }, 240_000)
  afterAll(async () => {
    await Promise.all([...services.values()].map(stopService))
    for (const release of releases.reverse()) await release()
  }, 60_000)

  async function run(app: App, n: number, root: string): Promise<void> {
    const name = `${app}-${String(n)}`
    services.set(name, await startService({ home, env, plan: { app, name, port: ports[app] + n, root } }))
  }

  /** One instance after the other, each in order: the next one begins when this one is ready. */
  async function replace(app: App, root: string, instances = [1, 2]): Promise<void> {
    for (const n of instances) {
      const running = services.get(`${app}-${String(n)}`)
      services.delete(`${app}-${String(n)}`)
      if (running) await stopService(running)
      await run(app, n, root)
    }
  }

  async function expectExact(firstProduct: number, disturb: () => Promise<void>): Promise<void> {
    const answers = await loadDuring(system, firstProduct, disturb)
    expect(answers.every(isOk)).toBe(true)
    expect(await lostLikes(system, answers)).toEqual([])
    expect(await readCounts(system)).toEqual(settled)
  }

  const url = (app: App): string => services.get(`${app}-1`)?.url ?? ''

  it('services of the release before go on while the migrations run, and after them (I1, I2, I3)', async () => {
    await expectExact(1_000, async () => {
      expect(await likewise(env, 'migrate')).toContain('applied 20261127203000_rebuild')
    })
    await expectExact(1_100, async () => {})
    expect(await readLikeCount(url('metrics-api'), 1_100)).toBeGreaterThan(0)
  }, 120_000)

  it('half of each service is of either release, and no like is refused, lost or counted twice (I1, I2, I3)', async () => {
    await expectExact(2_000, async () => {
      for (const app of order) await replace(app, now, [1])
    })
    await expectExact(2_100, async () => {})
  }, 180_000)

  it('the rest is replaced, and all of it goes back to the release before, on the new schema (I1, I2, I3)', async () => {
    await expectExact(4_000, async () => {
      for (const app of order) await replace(app, now, [2])
    })
    await expectExact(5_000, async () => {
      for (const app of order.toReversed()) await replace(app, old)
    })
  }, 360_000)

  it('an event with fields that nobody knows yet is counted by both; one of a version to come waits, with its key alone', async () => {
    const send = async (type: string, product: number, user: number): Promise<void> => {
      const payload = { userId: user, productId: product, createdAt: new Date().toISOString(), shop: 'new' }
      await db.query(sql`
        select catalog.outbox_enqueue(${type}, 'product', ${String(product)}, 'catalog-events', ${String(product)},
                                      ${JSON.stringify(payload)}::json)::text`)
    }
    await replace('metrics-consumer', now, [1])
    // Of each version to several partitions, so that consumers of both releases get some.
    const products = Array.from({ length: 24 }, (_, i) => 3_000 + i)
    for (const product of products) {
      await send('catalog.like.added.v1', product, 1)
      if (product % 2 === 0) await send('catalog.like.added.v2', product, 2)
      await send('catalog.like.added.v1', product, 3)
    }
    const counts = async (): Promise<(number | null)[]> =>
      Promise.all(products.map((product) => readLikeCount(url('metrics-api'), product)))
    const wanted = products.map((product) => (product % 2 === 0 ? 1 : 2))
    await eventually(async () => JSON.stringify(await counts()) === JSON.stringify(wanted))
    expect(await counts()).toEqual(wanted)
    const parked = await db.query<{ reason: string; n: bigint }>(sql`
      select reason, count(*) as n from metrics.dead_letters where resolved_at is null group by 1 order by 1`)
    expect(parked).toEqual([
      { reason: 'behind_parked', n: 12n },
      { reason: 'unknown_type', n: 12n },
    ])
    // Nobody will ever know this one: it is given up, and what waited behind it is counted.
    await likewise(env, 'dead-letters', 'discard', '--reason', 'unknown_type')
    const all = products.map(() => 2)
    await eventually(async () => JSON.stringify(await counts()) === JSON.stringify(all))
    expect(await counts()).toEqual(all)
  }, 120_000)
})
