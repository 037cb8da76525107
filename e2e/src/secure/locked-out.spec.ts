import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, urlAs } from '@likewise/database/testing'
import { LikeAdded, aggregateType, topicPlans, topics } from '@likewise/events'
import { ensureAccess, ensureTopics } from '@likewise/kafka'
import { type RunningService, freePort, removeHome, startService } from '@likewise/local-servers'
import { enqueue } from '@likewise/outbox'
import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { eventually } from '../system.ts'
import { type SecureBroker, type User, passwordOf, rights, startSecureBroker } from './broker.ts'
import { type Authority, makeAuthority } from './certificates.ts'

let authority: Authority
let broker: SecureBroker
let test: TestDatabase
let home: string
const services: RunningService[] = []

beforeAll(async () => {
  authority = await makeAuthority()
  broker = await startSecureBroker({ sasl: true, tls: await authority.issue('kafka=IP:127.0.0.1') })
  await ensureTopics(broker.admin, topicPlans)
  test = await freshDatabase('locked_out')
  home = await mkdtemp(join(tmpdir(), 'likewise-secure-'))
  const { NODE_OPTIONS: _n, ...inherited } = process.env
  const start = async (app: 'outbox-relay' | 'metrics-consumer', own: Record<string, string>) => {
    const env = {
      ...{ ...inherited, ...own, RELAY_BACKOFF_CAP_MS: '500', RELAY_LEASE_MS: '2000' },
      KAFKA_BROKERS: broker.server.brokers,
      KAFKA_TLS: 'true',
      KAFKA_TLS_CA_FILE: join(authority.folder, 'ca.crt'),
      KAFKA_SASL_USERNAME: app,
      KAFKA_SASL_PASSWORD: passwordOf(app),
    }
    services.push(await startService({ home, plan: { app, name: app, port: await freePort() }, env }))
  }
  await start('outbox-relay', { RELAY_DATABASE_URL: urlAs('likewise_relay', test.url) })
  await start('metrics-consumer', { CONSUMER_DATABASE_URL: urlAs('likewise_consumer', test.url) })
}, 240_000)
afterAll(async () => {
  for (const { process } of services) await process.stop('SIGKILL', 0)
  await test.drop()
  await broker.remove()
  await authority.remove()
  await removeHome(home)
}, 60_000)

let likes = 0
async function like(): Promise<void> {
  likes += 1
  const payload = { userId: likes, productId: 100, createdAt: '2026-11-22T09:14:05.402817Z' }
  await enqueue(test.db, {
    eventType: LikeAdded.properties.type.const,
    ...{ aggregateType, aggregateId: '100', topic: topics.catalogEvents, partitionKey: '100' },
    payload: JSON.stringify(payload),
  })
}

async function count(): Promise<number> {
  const [row] = await test.db.query<{ n: number }>(
    sql`select like_count::float8 as n from metrics.product_metrics where product_id = 100`,
  )
  return row?.n ?? 0
}

const setPasswords = (of: (user: User) => string) =>
  ensureAccess(
    broker.admin,
    (['outbox-relay', 'metrics-consumer'] as const).map((user) => ({
      user,
      password: of(user),
      rights: rights[user],
    })),
  )

const readiness = async ({ url }: RunningService): Promise<string> => (await fetch(`${url}/readyz`)).text()

it('a password that is no longer right is an outage that says so: nothing is parked, and all goes on when it is', async () => {
  await like()
  await eventually(async () => (await count()) === 1, 60_000)
  await setPasswords(() => 'another one')
  // A broker asks again when it is connected to anew.
  await broker.server.stop()
  await broker.server.start()
  await like()
  await eventually(async () => {
    const [row] = await test.db.query<{ error: string | null; attempts: number }>(
      sql`select last_error as error, retry_count as attempts from catalog.outbox_status where status = 'FAILED'`,
    )
    return (row?.attempts ?? 0) > 3 && (row?.error ?? '').startsWith('Kafka does not let this user in')
  }, 60_000)
  for (const service of services)
    await eventually(async () => /does not let this user in|Not a member/.test(await readiness(service)))
  const [parked] = await test.db.query(sql`
    select (select count(*)::int from catalog.outbox_parked) as events, (select count(*)::int from metrics.dead_letters) as letters`)
  expect(parked).toEqual({ events: 0, letters: 0 })
  await setPasswords(passwordOf)
  await eventually(async () => (await count()) === 2, 90_000)
  expect(services.map(({ process }) => process.hasExited())).toEqual([false, false])
}, 240_000)
