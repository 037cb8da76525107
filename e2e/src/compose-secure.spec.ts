import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { cleanComposeEnv, compose } from './demo/compose-stack.ts'
import { readLikeCount } from './demo/like-count.ts'
import { sendLike } from './likes.ts'
import { writeSecureSecrets } from './secrets.ts'
import { eventually, freePorts } from './system.ts'

// Three files, as docs/containers.md has it: nothing goes without TLS.
const files = ['docker-compose.yml', 'docker-compose.production.yml', 'docker-compose.secure.yml']
let env: Record<string, string | undefined>
let secrets: string

const dc = (...args: string[]) => compose(env, ...files.flatMap((file) => ['-f', file]), ...args)
const failing = (...args: string[]): Promise<string> => dc(...args).then(() => 'it worked', String)

beforeAll(async () => {
  const ports = await freePorts()
  secrets = await mkdtemp(join(tmpdir(), 'likewise-secrets-'))
  env = {
    ...process.env,
    ...cleanComposeEnv,
    COMPOSE_PROJECT_NAME: `likewise-secure-${process.pid}`,
    LIKEWISE_SECRETS: secrets,
    AUTH_MODE: 'trusted',
    LIKEWISE_PORT: String(ports['like-api']),
  }
  await writeSecureSecrets(secrets, 'a-secret-of-our-own')
  await dc('up', '-d', '--wait', '--wait-timeout', '180', '--no-build')
}, 300_000)
afterAll(async () => {
  await dc('down', '-v', '--timeout', '10')
  await rm(secrets, { recursive: true })
}, 120_000)

describe('docker compose by TLS alone', () => {
  it('counts a like', async () => {
    const api = `http://127.0.0.1:${String(env['LIKEWISE_PORT'])}`
    expect((await sendLike(api, 1, 100)).status).toBe(201)
    await eventually(async () => (await readLikeCount(api, 100)) === 1)
  }, 60_000)

  it('has each connection to PostgreSQL encrypted, and takes none that is not', async () => {
    const psql = (url: string, statement: string) => [
      'exec',
      '-T',
      'postgres',
      'psql',
      '-XAtc',
      statement,
      url,
    ]
    const local = 'postgresql://likewise@/likewise?host=/var/run/postgresql'
    const plain = await dc(
      ...psql(
        local,
        'select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where client_addr is not null and not ssl',
      ),
    )
    expect(plain.trim()).toBe('0')
    const asked = 'postgresql://likewise:a-secret-of-our-own@postgres/likewise?sslmode=disable'
    expect(await failing(...psql(asked, 'select 1'))).toMatch(/no pg_hba.conf entry.*no encryption/)
  }, 60_000)

  it('lets people look as the operator, and nobody who proves nothing', async () => {
    const status = JSON.parse(await dc('run', '--rm', '-T', 'cli', 'status', '--json')) as Record<
      string,
      object
    >
    for (const part of Object.values(status)) expect(part).not.toHaveProperty('error')
    const cli = (change: Record<string, string>) =>
      failing(
        'run',
        '--rm',
        '-T',
        ...Object.entries(change).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
        'cli',
        'topics',
      )
    expect(await cli({ KAFKA_TLS: 'false', KAFKA_TLS_CA_FILE: '' })).toMatch(
      /Kafka does not take or give records/,
    )
    const stolen = { KAFKA_SASL_PASSWORD_FILE: '', KAFKA_SASL_PASSWORD: 'guessed' }
    expect(await cli(stolen)).toMatch(/Kafka does not let this user in/)
    expect(await cli({ KAFKA_TLS_CA_FILE: '' })).toMatch(/certificate is not to be trusted/)
  }, 120_000)
})
