import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { cleanComposeEnv, compose } from './demo/compose-stack.ts'
import { readLikeCount } from './demo/like-count.ts'
import { sendLike, spread } from './likes.ts'
import { eventually, freePorts } from './system.ts'

let env: Record<string, string | undefined>
let metricsApi: string

beforeEach(async () => {
  const ports = await freePorts()
  metricsApi = `http://127.0.0.1:${ports['metrics-api']}`
  env = {
    ...process.env,
    ...cleanComposeEnv,
    COMPOSE_PROJECT_NAME: `likewise-overlays-${process.pid}`,
    LIKEWISE_PORT: String(ports['like-api']),
    LIKEWISE_METRICS_PORT: String(ports['metrics-api']),
    LIKEWISE_POSTGRES_PORT: String(ports['outbox-relay']),
    LIKEWISE_METRICS_POSTGRES_PORT: String(ports['outbox-relay'] + 1),
    LIKEWISE_KAFKA_PORT: String(ports['metrics-consumer']),
  }
})
afterEach(async () => {
  await compose(env, 'down', '-v', '--timeout', '5')
}, 60_000)

async function up(overlay: string): Promise<void> {
  env = { ...env, COMPOSE_FILE: `docker-compose.yml:${overlay}:/tmp/pooler-ov.yml` }
  await compose(env, 'up', '-d', '--wait', '--wait-timeout', '150', '--no-build')
}

async function countsExactly(likes: number): Promise<void> {
  const statuses = new Set<number | undefined>()
  await spread(likes, 8, async (i) => {
    statuses.add((await sendLike(`http://127.0.0.1:${env['LIKEWISE_PORT'] ?? ''}`, i + 1, 100)).status)
  })
  expect([...statuses]).toEqual([201])
  await eventually(async () => (await readLikeCount(metricsApi, 100)) === likes)
}

const psql = (service: string, statement: string): Promise<string> =>
  compose(env, 'exec', '-T', service, 'psql', '-U', 'likewise', '-d', 'likewise', '-Atc', statement)

describe('docker compose up with an overlay', () => {
  it('brings all services to PostgreSQL through PgBouncer', async () => {
    await up('docker-compose.pgbouncer.yml')
    await countsExactly(200)
    const address = (await compose(env, 'exec', '-T', 'pgbouncer', 'hostname', '-i')).trim()
    const clients = await psql(
      'postgres',
      "select distinct host(client_addr) from pg_stat_activity where application_name like 'likewise-%'",
    )
    expect(clients.trim()).toBe(address)
    expect(await compose(env, 'run', '--rm', 'cli', 'status')).toContain('0 events behind')
  }, 300_000)

  it('keeps catalog and metrics on two servers', async () => {
    await up('docker-compose.two-databases.yml')
    await countsExactly(200)
    const likes = 'select count(*) from catalog.likes'
    const counted = 'select coalesce(sum(like_count), 0) from metrics.product_metrics'
    expect([await psql('postgres', likes), await psql('postgres', counted)]).toEqual(['200\n', '0\n'])
    expect([await psql('postgres-metrics', likes), await psql('postgres-metrics', counted)]).toEqual([
      '0\n',
      '200\n',
    ])
    expect(await compose(env, 'run', '--rm', 'cli', 'status')).toContain('0 events behind')
  }, 300_000)
})
