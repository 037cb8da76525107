import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Failure } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { cleanComposeEnv, compose, docker } from './demo/compose-stack.ts'
import { readLikeCount } from './demo/like-count.ts'
import { sendLike, spread } from './likes.ts'
import { writeSecrets } from './secrets.ts'
import { eventually, freePorts } from './system.ts'

let env: Record<string, string | undefined>
let secrets: string
let volumesBefore: string
const production = ['-f', 'docker-compose.yml', '-f', 'docker-compose.production.yml']

beforeEach(async () => {
  volumesBefore = await docker(process.env, 'volume', 'ls', '-q')
  const ports = await freePorts()
  secrets = await mkdtemp(join(tmpdir(), 'likewise-secrets-'))
  env = {
    ...process.env,
    ...cleanComposeEnv,
    COMPOSE_PROJECT_NAME: `likewise-faults-${process.pid}`,
    LIKEWISE_SECRETS: secrets,
    AUTH_MODE: 'trusted',
    LIKEWISE_PORT: String(ports['like-api']),
    LIKEWISE_METRICS_PORT: String(ports['metrics-api']),
    LIKEWISE_POSTGRES_PORT: String(ports['outbox-relay']),
    LIKEWISE_KAFKA_PORT: String(ports['metrics-consumer']),
  }
})
/** Whatever went wrong, `down` removes it. */
afterEach(async () => {
  await compose(env, 'down', '--timeout', '5')
  const project = `label=com.docker.compose.project=${env['COMPOSE_PROJECT_NAME']}`
  expect(await docker(env, 'ps', '-aq', '--filter', project)).toBe('')
  expect(await docker(env, 'network', 'ls', '-q', '--filter', project)).toBe('')
  const anonymous = (await docker(env, 'volume', 'ls', '-q'))
    .split('\n')
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
  expect(anonymous.filter((name) => !volumesBefore.includes(name))).toEqual([])
  await compose(env, 'down', '-v', '--timeout', '5')
  await rm(secrets, { recursive: true })
}, 60_000)

const up = (...files: string[]) =>
  compose(env, ...files, 'up', '-d', '--wait', '--wait-timeout', '90', '--no-build')
const sentenceOf = async (work: Promise<string>): Promise<string> =>
  work.then(
    () => 'it came up',
    (error: unknown) => (error instanceof Failure ? error.message : String(error)),
  )

describe('docker compose up', () => {
  it('in production takes its passwords from files, and opens no port but that of nginx', async () => {
    await writeSecrets(secrets, { password: 'a-secret-of-our-own' })
    await up(...production)
    const api = `http://127.0.0.1:${env['LIKEWISE_PORT']}`
    expect((await sendLike(api, 1, 100)).status).toBe(201)
    await eventually(async () => (await readLikeCount(api, 100)) === 1)
    const published = await compose(env, 'ps', '--format', '{{.Service}} {{.Ports}}')
    expect(published.split('\n').filter((line) => line.includes('->'))).toEqual([
      expect.stringMatching(`^nginx (80/tcp, )?127.0.0.1:${env['LIKEWISE_PORT']}->8080/tcp$`),
    ])
    const inspected = await compose(
      env,
      'exec',
      'like-api',
      'node',
      '-e',
      'console.log(JSON.stringify(process.env))',
    )
    expect(inspected).not.toContain('a-secret-of-our-own')
  }, 180_000)

  it('in production asks how callers prove who they are', async () => {
    await writeSecrets(secrets, { password: 'a-secret-of-our-own' })
    delete env['AUTH_MODE']
    expect(await sentenceOf(up(...production))).toMatch(/AUTH_MODE.*how do callers prove who they are\?/s)
  }, 60_000)

  it('in production limits each client by the address that nginx sees, whatever it writes', async () => {
    await writeSecrets(secrets, { password: 'a-secret-of-our-own' })
    await up(...production)
    const api = `http://127.0.0.1:${env['LIKEWISE_PORT']}`
    // More than the default of 1,000 for each of the two replicas.
    const statuses = new Map<number, number>()
    await spread(3_000, 30, async (i) => {
      const { status } = await fetch(`${api}/api/products/1/likes/0`, {
        method: 'PUT',
        headers: { 'x-forwarded-for': `127.0.0.${i % 256}` },
      })
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    })
    expect([...statuses.keys()].sort()).toEqual([400, 429])
    expect((await fetch(`${api}/livez`)).status).toBe(200)
  }, 180_000)

  it('in production names the secret file that is missing', async () => {
    expect(await sentenceOf(up(...production))).toMatch(
      /secrets?.*postgres_password|postgres_password.*(not exist|no such file)/s,
    )
  }, 60_000)

  it('in production refuses the password that everybody knows', async () => {
    await writeSecrets(secrets, { password: 'likewise' })
    expect(await sentenceOf(up(...production))).toMatch(/migrate.*exit 1/)
    expect(await compose(env, 'logs', 'migrate')).toMatch(
      /CATALOG_DATABASE_URL .* has the password of docker-compose.yml/,
    )
  }, 120_000)

  it('says which URL has a wrong password', async () => {
    await writeSecrets(secrets, { password: 'right', ownerPassword: 'wrong' })
    expect(await sentenceOf(up(...production))).toMatch(/migrate.*exit 1/)
    const said = await compose(env, 'logs', 'migrate')
    expect(said).toMatch(
      /The database of CATALOG_DATABASE_URL cannot be used: .*password authentication failed/,
    )
    expect(said).not.toMatch(/\n\s+at |wrong@/)
  }, 120_000)

  it('names the port that is taken', async () => {
    const taken = createServer().listen(Number(env['LIKEWISE_KAFKA_PORT']), '127.0.0.1')
    await once(taken, 'listening')
    const said = await sentenceOf(up()).finally(() => taken.close())
    expect(said).toMatch(
      new RegExp(`${env['LIKEWISE_KAFKA_PORT']}.*(address already in use|already allocated)`),
    )
  }, 120_000)

  it('does not touch a volume of an older PostgreSQL, and says what it is', async () => {
    await compose(env, 'up', '-d', '--wait', 'postgres')
    const makeOld = 'echo 17 > /var/lib/postgresql/18/docker/PG_VERSION'
    await compose(env, 'exec', '--user', 'postgres', 'postgres', 'sh', '-c', makeOld)
    await compose(env, 'stop', 'postgres')
    expect(await sentenceOf(up())).toMatch(/postgres.*(exited|unhealthy)/)
    expect(await compose(env, 'logs', 'postgres')).toMatch(
      /not compatible with this version|initialized by PostgreSQL version 17/,
    )
  }, 120_000)
})
