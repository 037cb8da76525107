import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { mkdtemp, readFile, readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ProcessIdentity, isAlive, removeHome, workspaceRoot } from '@likewise/local-servers'
import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import { sendLike } from './likes.ts'
import { eventually, freePorts } from './system.ts'

// A variable that is empty counts as unset, also where a .env names it.
const noServers = { CATALOG_DATABASE_URL: '', METRICS_DATABASE_URL: '', KAFKA_BROKERS: '' }
const nobody = 'postgres://nobody:secret-canary@127.0.0.1:9/none'

/** Every process started here, so that a test that fails leaves none behind. */
const runs: Run[] = []
afterEach(async () => {
  for (const { child, code } of runs.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    await code
  }
}, 60_000)

interface Run {
  child: ChildProcess
  words: () => string
  code: Promise<number | null>
}

function run(file: string, env: Record<string, string>, args: string[] = []): Run {
  return runCommand([process.execPath, join(workspaceRoot, file), ...args], env)
}

function runCommand([command, ...args]: [string, ...string[]], env: Record<string, string>): Run {
  const child = spawn(command, args, {
    cwd: workspaceRoot,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  })
  let words = ''
  child.stdout.on('data', (chunk: Buffer) => (words += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (words += chunk.toString()))
  const code = once(child, 'close').then(([status]) => status as number | null)
  runs.push({ child, words: () => words, code })
  return { child, words: () => words, code }
}

const apps = ['like-api', 'outbox-relay', 'metrics-consumer', 'metrics-api']

describe('a service that cannot start says why in one sentence and exits 1', () => {
  it.each(apps)('%s without its variables names each of them', async (app) => {
    const { code, words } = run(`apps/${app}/dist/main.js`, noServers)
    expect(await code).toBe(1)
    expect(words()).toMatch(/(CATALOG|METRICS)_DATABASE_URL/)
    if (app === 'outbox-relay') expect(words()).toMatch(/KAFKA_BROKERS/)
    expect(words()).not.toMatch(/\n\s+at /)
  })

  it.each(apps)('%s with an unreachable database names the variable and shows no password', async (app) => {
    const env = { CATALOG_DATABASE_URL: nobody, METRICS_DATABASE_URL: nobody, KAFKA_BROKERS: '127.0.0.1:9' }
    const { code, words } = run(`apps/${app}/dist/main.js`, env)
    expect(await code).toBe(1)
    expect(words()).toMatch(/The database of (CATALOG|METRICS)_DATABASE_URL cannot be used/)
    expect(words()).not.toMatch(/\n\s+at |secret-canary/)
  })

  it('like-api with malformed settings reports all of them at once', async () => {
    const env = { CATALOG_DATABASE_URL: 'mysql://x', LIKE_API_PORT: '8080x', LIKE_API_POOL_SIZE: '0' }
    const { code, words } = run('apps/like-api/dist/main.js', env)
    expect(await code).toBe(1)
    for (const name of Object.keys(env)) expect(words()).toContain(name)
  })
})

describe('npm start', () => {
  let home: string
  let env: Record<string, string>

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'likewise-start-'))
    const ports = await freePorts()
    env = {
      ...noServers,
      LIKEWISE_HOME: home,
      LIKE_API_PORT: String(ports['like-api']),
      METRICS_API_PORT: String(ports['metrics-api']),
      RELAY_PORT: String(ports['outbox-relay']),
      CONSUMER_PORT: String(ports['metrics-consumer']),
    }
  })
  afterAll(() => removeHome(home))

  async function start(args: string[] = [], one = run('scripts/start.mjs', env, args)): Promise<Run> {
    await eventually(
      async () => one.words().includes('likewise is ready') || one.child.exitCode !== null,
      120_000,
    )
    expect(one.words()).toContain('\nlikewise is ready')
    return one
  }

  const metricsOf = async (productId: number): Promise<unknown> =>
    (await fetch(`http://127.0.0.1:${env['METRICS_API_PORT']}/api/products/${productId}/metrics`)).json()

  it('counts likes, says that it already runs, stops with exit 0 on a SIGTERM to npm, and goes on with its data', async () => {
    const first = await start([], runCommand(['npm', 'start'], env))
    const api = `http://127.0.0.1:${env['LIKE_API_PORT']}`
    expect((await sendLike(api, 1, 100)).status).toBe(201)
    await eventually(async () => ((await metricsOf(100)) as { likeCount: number }).likeCount === 1)
    expect(await readFile(join(home, 'env'), 'utf8')).toMatch(
      /^CATALOG_DATABASE_URL=postgres.*\nMETRICS_.*\nKAFKA_BROKERS=.*\n$/,
    )

    const second = run('scripts/start.mjs', env)
    expect(await second.code).toBe(1)
    expect(second.words()).toMatch(/already running/)

    first.child.kill('SIGTERM')
    expect(await first.code).toBe(0)
    expect(await readdir(join(home, 'run'))).toEqual([])

    await start(['--consumers', '1', '--relays', '1', '--like-apis', '1'])
    expect(await metricsOf(100)).toMatchObject({ productId: 100, likeCount: 1 })
    expect((await sendLike(api, 1, 100)).status).toBe(200)
  }, 240_000)

  const isAt = (one: Run, step: string) => eventually(async () => one.words().includes(step), 60_000)
  const claim = () => join(home, 'start.json')

  it('begun twice at once refuses one of them, and stops the other while it still starts', async () => {
    await writeFile(claim(), '{"pid":2,"startTime":"of a run that was killed"}')
    const both = [run('scripts/start.mjs', env), run('scripts/start.mjs', env)]
    const refused = await Promise.race(both.map(async (one) => one.code.then(() => one)))
    expect(await refused.code).toBe(1)
    expect(refused.words()).toMatch(/already running\. .* process \d+/)
    const going = both.find((one) => one !== refused)!
    await isAt(going, 'services …')
    const stoppedMs = performance.now()
    going.child.kill('SIGTERM')
    expect(await going.code).toBe(0)
    expect(performance.now() - stoppedMs).toBeLessThan(20_000)
    expect(going.words()).toMatch(/\nStopping; data is kept\.\n$/)
    expect(going.words()).not.toContain('likewise is ready')
    expect(await readdir(join(home, 'run'))).toEqual([])
    expect(existsSync(claim())).toBe(false)
  }, 120_000)

  it('gives up while its servers start, and a second signal kills what is left', async () => {
    const log = join(home, 'logs', 'kafka.log')
    const logBytes = () => statSync(log, { throwIfNoEntry: false })?.size ?? 0
    const before = logBytes()
    const one = run('scripts/start.mjs', { ...env, LIKEWISE_SERVERS: 'embedded' }) // whose processes can be stopped
    // By its first words java minds SIGTERM; until then it can die of one even while it is being stopped.
    await eventually(async () => logBytes() > before, 60_000)
    const record = await readFile(join(home, 'run', 'kafka.json'), 'utf8')
    const broker = JSON.parse(record) as ProcessIdentity
    process.kill(broker.pid, 'SIGSTOP') // now it never answers, and does not end when asked
    one.child.kill('SIGTERM')
    await isAt(one, 'Stopping')
    await pause(1_100) // one that comes sooner is the same Ctrl-C, passed on by npm
    expect(await readdir(join(home, 'run'))).toContain('kafka.json')
    one.child.kill('SIGTERM')
    expect(await one.code).toBe(1)
    expect(await readdir(join(home, 'run'))).toEqual([])
    expect(existsSync(claim())).toBe(false)
    await eventually(async () => !isAlive(broker))
  }, 120_000)

  it('stops what it started when nobody reads any more, as when its terminal is closed', async () => {
    // Linux's script gives it a terminal, which ends with it: SIGHUP, then EIO. Elsewhere only a pipe is closed: EPIPE.
    const script = '/usr/bin/script'
    const hasTerminal = process.platform === 'linux' && existsSync(script)
    const file = join(workspaceRoot, 'scripts/start.mjs')
    const child = hasTerminal
      ? spawn(script, ['-qfc', `exec ${process.execPath} ${file}`, '/dev/null'], {
          cwd: workspaceRoot,
          stdio: ['ignore', 'ignore', 'inherit'],
          env: { ...process.env, NODE_OPTIONS: '', ...env },
        })
      : run('scripts/start.mjs', env).child
    await eventually(async () => existsSync(join(home, 'run', 'like-api-1.json')), 60_000)
    if (hasTerminal) child.kill('SIGKILL')
    else {
      child.stdout?.destroy()
      await eventually(() => metricsOf(100).then(Boolean, () => false), 60_000)
      child.kill('SIGTERM')
    }
    await once(child, 'close')
    await eventually(async () => !existsSync(claim()), 60_000)
    expect(await readdir(join(home, 'run'))).toEqual([])
  }, 120_000)

  it('that was killed leaves processes behind, which the next start ends, with data intact', async () => {
    const first = await start(['--consumers', '1', '--relays', '1', '--like-apis', '1'])
    expect((await sendLike(`http://127.0.0.1:${env['LIKE_API_PORT']}`, 2, 100)).status).toBe(201)
    first.child.kill('SIGKILL')
    await first.code
    await start(['--consumers', '1', '--relays', '1', '--like-apis', '1'])
    await eventually(async () => ((await metricsOf(100)) as { likeCount: number }).likeCount === 2)
  }, 240_000)

  it('names the variable of a port that is taken, and leaves nothing running', async () => {
    const taken = createServer().listen(Number(env['METRICS_API_PORT']), '127.0.0.1')
    await once(taken, 'listening')
    const { code, words } = run('scripts/start.mjs', env)
    expect(await code.finally(() => taken.close())).toBe(1)
    expect(words()).toMatch(/METRICS_API_PORT/)
    expect(words()).not.toMatch(/\n\s+at /)
    expect(await readdir(join(home, 'run'))).toEqual([])
  }, 240_000)

  it.each([
    ['scripts/start.mjs', []],
    ['apps/cli/dist/main.js', ['migrate']],
  ] as [string, string[]][])(
    '(%s %j) names the variable of a database of the environment that is unreachable',
    async (file, args) => {
      const servers = {
        CATALOG_DATABASE_URL: nobody,
        METRICS_DATABASE_URL: nobody,
        KAFKA_BROKERS: '127.0.0.1:9',
        LIKEWISE_SERVERS: '',
      }
      const { code, words } = run(file, { ...env, ...servers }, args)
      expect(await code).toBe(1)
      expect(words()).toMatch(/The database of CATALOG_DATABASE_URL cannot be used: .* Is PostgreSQL running/)
      expect(words()).not.toMatch(/\n\s+at |secret-canary/)
    },
  )

  it('refuses ports that two instances would share, naming both variables, and port 0', async () => {
    const ports = { LIKE_API_PORT: '8080', METRICS_API_PORT: '8087' }
    const shared = run('scripts/start.mjs', { ...env, ...ports }, ['--like-apis', '8'])
    const zero = run('scripts/start.mjs', { ...env, RELAY_PORT: '0' })
    expect(await shared.code).toBe(1)
    expect(shared.words()).toMatch(/LIKE_API_PORT \(8080 to 8087\) and METRICS_API_PORT \(8087\)/)
    expect(await zero.code).toBe(1)
    expect(zero.words()).toMatch(/RELAY_PORT .* is "0"/)
  })

  it.each([
    [['--consumers', '0'], /--consumers/],
    [['--consumers', '13'], /--consumers is "13"; it must be 1 to 12/],
    [['--like-apis', '9'], /--like-apis is "9"; it must be 1 to 8/],
    [['--relays', '5'], /--relays is "5"; it must be 1 to 4/],
    [['--bogus'], /--bogus/],
  ])('refuses the arguments %j with the usage', async (args, sentence) => {
    const { code, words } = run('scripts/start.mjs', env, args)
    expect(await code).toBe(1)
    expect(words()).toMatch(sentence)
    expect(words()).toMatch(/Usage: npm start/)
  })
})
