import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, describe, expect, it } from '@jest/globals'
import { Type } from 'typebox'
import { AuthConfig } from './auth-config.ts'
import { readConfig } from './config.ts'
import { GuardConfig, readGuard } from './guard-config.ts'
import { type Http, buildHttp } from './http.ts'
import { buildLogger } from './logger.ts'
import { pause } from './pause.ts'
import { buildTelemetry } from './telemetry.ts'

const isThere = spawnSync('redis-server', ['--version']).status === 0
const describeIfThere = isThere ? describe : describe.skip
if (!isThere) {
  const why = 'There is no redis-server on the PATH: apt-get install redis-server.'
  process.stderr.write(`Skipped: the tests of limits counted in Redis. ${why}\n`)
}

const apps: Http[] = []
const servers: ChildProcess[] = []
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()))
  await Promise.all(servers.splice(0).map(kill))
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function startRedis(port: number): Promise<ChildProcess> {
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
  const redis = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'ignore'] })
  servers.push(redis)
  let output = ''
  for await (const text of redis.stdout) if ((output += String(text)).includes('Ready to accept')) break
  return redis
}

async function kill(redis: ChildProcess): Promise<void> {
  if (redis.exitCode !== null || redis.signalCode !== null) return
  const ended = once(redis, 'exit')
  redis.kill('SIGKILL')
  await ended
}

function replica(port: number, env: Record<string, string>, service = 'like-api') {
  const lines: string[] = []
  const telemetry = buildTelemetry('test')
  const settings = Type.Object({ ...GuardConfig.properties, ...AuthConfig.properties })
  const app = buildHttp({
    log: buildLogger({ service: 'test', level: 'info' }, { write: (line) => void lines.push(line) }),
    telemetry,
    service,
    version: '1.2.3',
    ready: async () => ({ database: true }),
    guard: readGuard(
      readConfig(settings, {
        HTTP_RATE_REDIS_URL: `redis://127.0.0.1:${port}`,
        AUTH_MODE: 'trusted',
        ...env,
      }),
    ),
    auth: {
      authenticate: async (name) => ({ ...(name === undefined ? {} : { caller: name }), anyUser: true }),
      stop: async () => undefined,
    },
  })
  app.get('/api/thing', async () => 'here')
  apps.push(app)
  const alone = async () =>
    Number(/likewise_http_rate_alone_total\S* (\d+)/.exec((await app.inject('/metrics')).body)?.[1] ?? 0)
  const ask = async (remoteAddress = '192.0.2.1', authorization?: string) => {
    const headers = authorization === undefined ? {} : { authorization }
    return (await app.inject({ url: '/api/thing', remoteAddress, headers })).statusCode
  }
  return { app, lines, ask, alone }
}

type Replica = ReturnType<typeof replica>

/** Until the replica counts in Redis. Asks from addresses that nobody else uses. */
async function counting({ ask, alone }: Replica): Promise<void> {
  const endMs = performance.now() + 15_000
  for (let i = 1; ; i += 1) {
    const before = await alone()
    await ask(`198.51.100.${i}`)
    if ((await alone()) === before) return
    if (performance.now() > endMs) throw new Error('The replica does not count in Redis.')
    await pause(100)
  }
}

async function twoReplicas(env: Record<string, string>) {
  const port = await freePort()
  const redis = await startRedis(port)
  const [one, other] = [replica(port, env), replica(port, env)]
  await Promise.all([counting(one), counting(other)])
  return { port, redis, one, other }
}

describeIfThere('limits of requests that are counted in Redis', () => {
  it('hold for all replicas together, each address by itself', async () => {
    const { one, other } = await twoReplicas({ HTTP_RATE_PER_ADDRESS: '2' })
    expect([await one.ask(), await other.ask(), await one.ask(), await other.ask()]).toEqual([
      200, 200, 429, 429,
    ])
    expect(await other.ask('192.0.2.2')).toBe(200)
  })

  it('hold for each service by itself, where several have one Redis', async () => {
    const { port, one } = await twoReplicas({ HTTP_RATE_PER_ADDRESS: '1' })
    const neighbour = replica(port, { HTTP_RATE_PER_ADDRESS: '1' }, 'metrics-api')
    await counting(neighbour)
    expect([await one.ask(), await neighbour.ask(), await neighbour.ask()]).toEqual([200, 200, 429])
  })

  it('hold for a caller at every replica, beside those of its address', async () => {
    const { one, other } = await twoReplicas({ HTTP_RATE_PER_ADDRESS: '4', HTTP_RATE_PER_CALLER: '2' })
    expect([await one.ask('192.0.2.1', '7'), await other.ask('192.0.2.2', '7')]).toEqual([200, 200])
    expect(await one.ask('192.0.2.3', '7')).toBe(429)
    expect([await one.ask(), await other.ask(), await one.ask()]).toEqual([200, 200, 200])
    expect(await other.ask()).toBe(429)
  })

  it('begin anew when their time is over', async () => {
    const { one, other } = await twoReplicas({ HTTP_RATE_PER_ADDRESS: '1', HTTP_RATE_WINDOW_MS: '500' })
    expect([await one.ask(), await other.ask()]).toEqual([200, 429])
    await pause(600)
    expect(await other.ask()).toBe(200)
  })

  it('are those of each replica while Redis is away, which is told once, and shared when it is back', async () => {
    const { port, redis, one, other } = await twoReplicas({ HTTP_RATE_PER_ADDRESS: '2' })
    await kill(redis)
    for (const { ask } of [one, other]) {
      expect([await ask(), await ask(), await ask()]).toEqual([200, 200, 429])
    }
    expect(await one.alone()).toBeGreaterThanOrEqual(3)
    await pause(1_500) // several attempts to connect
    expect(one.lines.filter((line) => line.includes('Redis is away'))).toHaveLength(1)

    await startRedis(port)
    await Promise.all([counting(one), counting(other)])
    expect(one.lines.filter((line) => line.includes('Redis is back'))).toHaveLength(1)
    const there = '192.0.2.77'
    expect([await one.ask(there), await other.ask(there), await one.ask(there)]).toEqual([200, 200, 429])
  })

  it('keep nobody waiting where Redis hangs', async () => {
    const { redis, one } = await twoReplicas({ HTTP_RATE_PER_ADDRESS: '2' })
    redis.kill('SIGSTOP')
    const begunMs = performance.now()
    expect([await one.ask(), await one.ask(), await one.ask()]).toEqual([200, 200, 429])
    expect(performance.now() - begunMs).toBeLessThan(2_000)
    redis.kill('SIGCONT')
    await counting(one)
  })
})
