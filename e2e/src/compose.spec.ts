import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { brokerOutage } from './demo/broker-outage.ts'
import { cleanComposeEnv, compose, composeStack, docker } from './demo/compose-stack.ts'
import { type DemoContext, openContext } from './demo/context.ts'
import { duplicates } from './demo/duplicates.ts'
import { readLikeCount } from './demo/like-count.ts'
import { scaleOut } from './demo/scale-out.ts'
import { isSettled, lostLikes, readCounts, settled } from './invariants.ts'
import { type Answer, sendLike, sendUnlike, spread } from './likes.ts'
import { readTopic, turnsOfPairs } from './order.ts'
import { eventually, freePorts } from './system.ts'
import { readUsers, usersOfServices } from './users.ts'

// npm run test:compose: the stack of docker-compose.yml, as a project of its own beside one that may run here.
let env: Record<string, string | undefined>
let context: DemoContext
let close: () => Promise<void>
let url: string
let kafkaBrokers: string
const answers: Answer[] = []

const dc = (...args: string[]) => compose(env, ...args)
const up = (...args: string[]) => dc('up', '-d', '--wait', '--no-build', ...args)

beforeAll(async () => {
  const ports = await freePorts()
  env = {
    ...process.env,
    ...cleanComposeEnv,
    COMPOSE_PROJECT_NAME: `likewise-test-${process.pid}`,
    LIKEWISE_PORT: String(ports['like-api']),
    LIKEWISE_METRICS_PORT: String(ports['metrics-api']),
    LIKEWISE_POSTGRES_PORT: String(ports['outbox-relay']),
    LIKEWISE_KAFKA_PORT: String(ports['metrics-consumer']),
  }
  const stack = composeStack(env)
  url = stack.metricsApi
  kafkaBrokers = stack.kafkaBrokers
  ;({ context, close } = openContext({
    ...stack,
    narrate: { open: () => undefined, step: () => undefined },
    signal: new AbortController().signal,
  }))
  await up()
}, 300_000)
afterAll(async () => {
  await close().catch(() => undefined) // the stack goes down in any case
  await dc('down', '-v', '--timeout', '20')
}, 120_000)

interface Container {
  Name: string
  State: { StartedAt: string }
  HostConfig: {
    CapDrop: string[]
    SecurityOpt: string[]
    ReadonlyRootfs: boolean
    Memory: number
    PortBindings: Record<string, { HostIp: string }[]> | null
  }
}

async function inspect(...services: string[]): Promise<Container[]> {
  const ids = (await dc('ps', '-q', ...services)).trim().split('\n')
  return JSON.parse(await docker(env, 'inspect', ...ids)) as Container[]
}

/** Kills the service as a crash would, from inside of its container. */
const killMain = `
  const { readdirSync, readFileSync } = require('fs')
  for (const pid of readdirSync('/proc').filter((name) => /^\\d+$/.test(name) && name != process.pid))
    if (/^node.*dist.main.js/s.test(readFileSync('/proc/' + pid + '/cmdline', 'utf8'))) process.kill(pid, 'SIGKILL')`

const isOk = ({ status = 0 }: Answer): boolean => status >= 200 && status < 300
let lastUser = 0

/** Likes under load while `disturb` goes on; afterwards everything settles, and nothing that was promised is lost. */
async function loadDuring(disturb: () => Promise<unknown>): Promise<Answer[]> {
  const sent: Answer[] = []
  const over = new AbortController()
  const disturbed = disturb().finally(() => over.abort())
  while (!over.signal.aborted) {
    await spread(100, 8, async (i) => {
      sent.push(await sendLike(url, (lastUser += 1), 1_000 + (i % 25)))
    })
  }
  await disturbed
  await eventually(() => isSettled(context), 90_000)
  expect(await lostLikes(context, sent)).toEqual([])
  answers.push(...sent)
  return sent
}

describe('docker compose', () => {
  it('runs two of each service that scales, as somebody who may do little', async () => {
    const ps = await dc('ps', '--format', '{{.Service}} {{.Health}}')
    const lines = ps.trim().split('\n').sort()
    const two = (name: string) => [`${name} healthy`, `${name} healthy`]
    expect(lines).toEqual([
      'kafka healthy',
      ...two('like-api'),
      'metrics-api healthy',
      ...two('metrics-consumer'),
      'nginx healthy',
      ...two('outbox-relay'),
      'postgres healthy',
    ])
    for (const service of ['like-api', 'outbox-relay', 'metrics-consumer', 'metrics-api']) {
      const tries = "console.log(process.getuid() > 0); require('fs').writeFileSync('/tmp/x', ''); " // then read-only
      const may = await dc(
        'exec',
        service,
        'node',
        '-e',
        `${tries}require('fs').writeFileSync('x', '')`,
      ).catch(String)
      expect(may).toMatch(/EROFS/)
      expect(await dc('exec', service, 'node', '-p', 'process.getuid() > 0')).toBe('true\n')
    }
    for (const { HostConfig, Name } of await inspect()) {
      const { CapDrop, SecurityOpt, ReadonlyRootfs, Memory, PortBindings } = HostConfig
      expect({ Name, CapDrop, SecurityOpt, ReadonlyRootfs, hasLimit: Memory > 0 }).toEqual({
        Name,
        CapDrop: ['ALL'],
        SecurityOpt: ['no-new-privileges:true'],
        ReadonlyRootfs: true,
        hasLimit: true,
      })
      const addresses = Object.values(PortBindings ?? {}).flatMap((ports) =>
        ports.map(({ HostIp }) => HostIp),
      )
      expect(addresses.filter((address) => address !== '127.0.0.1')).toEqual([])
    }
  }, 60_000)

  it('gives each service a user of its own, that may do what its role may', async () => {
    // A connection that nobody uses for ten seconds is closed.
    expect(isOk(await sendLike(url, (lastUser += 1), 1_000))).toBe(true)
    await readLikeCount(url, 1_000)
    expect(await readUsers(context.catalog)).toEqual(usersOfServices)
  })

  it('shows its status from inside the network', async () => {
    const status = JSON.parse(await dc('run', '--rm', 'cli', 'status', '--json')) as Record<string, object>
    expect(Object.keys(status)).toEqual(['outbox', 'consumer', 'deadLetters', 'rebuild'])
    for (const part of Object.values(status)) expect(part).not.toHaveProperty('error')
  }, 60_000)

  it('tells the three stories through nginx', async () => {
    expect(await scaleOut(context)).toMatchObject({ kind: 'told', holds: true })
    expect(await duplicates(context)).toMatchObject({ kind: 'told', holds: true })
    expect(await brokerOutage(context)).toMatchObject({ kind: 'told', holds: true })
  }, 180_000)

  it('scales each service under load without a restart of nginx, and no request notices', async () => {
    const [nginx] = await inspect('nginx')
    const sent = await loadDuring(() =>
      up(
        '--no-recreate',
        '--scale',
        'metrics-consumer=4',
        '--scale',
        'like-api=3',
        '--scale',
        'outbox-relay=3',
      ),
    )
    expect(sent.every(isOk)).toBe(true)
    await spread(60, 8, async () => void sent.push(await sendLike(url, (lastUser += 1), 1_000)))
    const metrics = "fetch('http://127.0.0.1:8080/metrics').then((r) => r.text()).then(console.log)"
    const third = await dc('exec', '--index', '3', 'like-api', 'node', '-e', metrics)
    expect(third).toMatch(/likewise_http_request_duration_seconds_count\{[^}]*likes[^}]*\} [1-9]/)
    const back = await loadDuring(() => up('--no-recreate'))
    expect(back.every(isOk)).toBe(true)
    expect((await inspect('nginx')).map(({ State }) => State.StartedAt)).toEqual([nginx?.State.StartedAt])
  }, 300_000)

  it.each(['like-api', 'outbox-relay', 'metrics-consumer', 'metrics-api', 'nginx'])(
    'keeps its promises when every %s is killed and comes back',
    async (service) => {
      const sent = await loadDuring(async () => {
        await dc('kill', service)
        await up()
      })
      if (!['like-api', 'nginx'].includes(service)) expect(sent.every(isOk)).toBe(true)
      expect(isOk(await sendLike(url, (lastUser += 1), 1_000))).toBe(true)
    },
    300_000,
  )

  it('keeps probes and metrics of its replicas to itself, and says so, like what it cannot read, as a problem', async () => {
    const answered = async (path: string, headers: Record<string, string> = {}) => {
      const answer = await fetch(`${url}${path}`, { headers })
      expect(answer.headers.get('content-type')).toBe('application/problem+json')
      const { type, status } = (await answer.json()) as { type: string; status: number }
      return [answer.status, status, type]
    }
    for (const path of ['/metrics', '/readyz'])
      expect(await answered(path)).toEqual([404, 404, 'urn:likewise:problem:not-found'])
    const large = [431, 431, 'urn:likewise:problem:request-header-fields-too-large']
    expect(await answered('/livez', { 'x-large': 'x'.repeat(30_000) })).toEqual(large)
  })

  it('starts a process again that died by itself', async () => {
    const started = async () => (await inspect('metrics-api'))[0]?.State.StartedAt
    const before = await started()
    await dc('exec', 'metrics-api', 'node', '-e', killMain).catch(() => undefined) // dies with it
    await eventually(async () => (await started()) !== before, 60_000)
    await up()
  }, 120_000)

  it('takes likes while Kafka is stopped (I7) and publishes them when it is back (I6)', async () => {
    const sent = await loadDuring(async () => {
      await dc('stop', 'kafka')
      await dc('start', 'kafka')
      await up()
    })
    expect(sent.every(isOk)).toBe(true)
  }, 300_000)

  it('answers 503 while PostgreSQL is stopped (I7) and goes on when it is back (I6)', async () => {
    const sent = await loadDuring(async () => {
      await dc('stop', 'postgres')
      await eventually(async () => (await sendLike(url, (lastUser += 1), 1_000)).status === 503)
      await dc('start', 'postgres')
      await up()
      await eventually(async () => isOk(await sendLike(url, (lastUser += 1), 1_000)))
    })
    expect(sent.some(isOk)).toBe(true)
  }, 300_000)

  it('keeps its promises through a rolling restart of everything', async () => {
    const sent = await loadDuring(async () => {
      for (const service of [
        'metrics-consumer',
        'outbox-relay',
        'like-api',
        'metrics-api',
        'nginx',
        'kafka',
        'postgres',
      ]) {
        await dc('restart', service)
        await up()
      }
    })
    expect(sent.filter(isOk).length).toBeGreaterThan(sent.length / 2)
    expect(isOk(await sendLike(url, (lastUser += 1), 1_000))).toBe(true)
  }, 300_000)

  it('keeps the order of each (user, product), counted once, to the end (I1 to I4)', async () => {
    await spread(40, 20, async (pair) => {
      for (let turn = 0; turn < 6; turn += 1) {
        expect(
          isOk(await (turn % 2 === 0 ? sendLike : sendUnlike)(url, 900_000 + pair, 500 + (pair % 8))),
        ).toBe(true)
      }
    })
    await eventually(() => isSettled(context), 90_000)
    expect(await readCounts(context)).toEqual(settled)
    expect(await lostLikes(context, answers)).toEqual([])
    const turns = turnsOfPairs(await readTopic(kafkaBrokers))
    for (let pair = 0; pair < 40; pair += 1)
      expect(turns.get(`${900_000 + pair}/${500 + (pair % 8)}`)).toBe('+-+-+-')
    expect([...turns.values()].filter((signs) => !/^(\+-)*\+?$/.test(signs))).toEqual([])
  }, 120_000)
})
