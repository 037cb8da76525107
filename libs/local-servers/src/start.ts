import { once } from 'node:events'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Failure, buildLogger, loadDotenv, maskPasswords, readConfig } from '@likewise/service'
import { type TInteger, Type } from 'typebox'
import { claimHome } from './home-claim.ts'
import { killOwn } from './leftovers.ts'
import { type Stack, startStack } from './stack.ts'
import { type StackPlan, requireDistinctPorts } from './stack-plan.ts'
import { workspaceRoot } from './services.ts'

/** Not 0, as a service by itself allows: whoever looks for a running Likewise must know its ports. */
function port(fallback: number, description: string): TInteger {
  return Type.Integer({ minimum: 1, maximum: 65_535, default: fallback, description })
}

export const StartConfig = Type.Object({
  LIKEWISE_HOME: Type.String({
    default: '.likewise',
    description: 'Folder of data, logs and the env file of npm start.',
  }),
  LIKEWISE_SERVERS: Type.Optional(
    Type.Union([Type.Literal('env'), Type.Literal('containers'), Type.Literal('embedded')], {
      description:
        'Where PostgreSQL and Kafka come from; unset: the first of env, containers, embedded that works.',
    }),
  ),
  LIKEWISE_CACHE: Type.Optional(
    Type.String({
      description:
        "Folder whose likewise/ keeps Kafka's jars, fetched once; unset: XDG_CACHE_HOME, else ~/.cache.",
    }),
  ),
  LIKE_API_PORT: port(8080, 'Port of the first like-api; further ones take the next ports.'),
  METRICS_API_PORT: port(8090, 'Port of metrics-api.'),
  RELAY_PORT: port(9100, "Port of the first relay's probes; further ones take the next ports."),
  CONSUMER_PORT: port(9200, "Port of the first consumer's probes; further ones take the next ports."),
})

/** `npm start`: runs until a signal. Resolves to the exit code. */
export async function start(args: readonly string[]): Promise<number> {
  // A closed terminal (EIO) or a reader that left (EPIPE) must not end us before we have stopped what we started.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  try {
    const counts = readCounts(args)
    loadDotenv(workspaceRoot)
    const config = readConfig(StartConfig)
    const plan = {
      ...counts,
      ports: {
        'like-api': config.LIKE_API_PORT,
        'metrics-api': config.METRICS_API_PORT,
        'outbox-relay': config.RELAY_PORT,
        'metrics-consumer': config.CONSUMER_PORT,
      },
    }
    requireDistinctPorts(plan)
    const home = resolve(workspaceRoot, config.LIKEWISE_HOME)
    const release = claimHome(home)
    try {
      return await run(home, plan)
    } finally {
      release()
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const running = error.code === 'ALREADY_RUNNING' ? 'Likewise is already running. ' : ''
    process.stderr.write(`\n${running}${maskPasswords(error.message)}\n`)
    return 1
  }
}

async function run(home: string, plan: StackPlan): Promise<number> {
  const signal = stopSignal(home)
  let stack: Stack
  try {
    // Through process.stdout, for its listener above.
    const log = buildLogger({ service: 'start', level: 'warn' }, process.stdout)
    stack = await startStack({ home, plan, log, env: process.env, step, signal })
  } catch (error) {
    if (signal.aborted && error === signal.reason) return 0
    throw error
  }
  if (!signal.aborted) {
    say(welcome(stack))
    await once(signal, 'abort')
  }
  await stack.stop()
  return 0
}

// Together they want at most 165 of PostgreSQL's 200 connections: 8 × 10, 4 × 5, 12 × 5 and metrics-api's 5.
const countMax = { 'like-apis': 8, relays: 4, consumers: 12 } as const

function readCounts(args: readonly string[]): { likeApis: number; relays: number; consumers: number } {
  const usage = 'npm start -- [--like-apis 2] [--relays 2] [--consumers 2]'
  let values: Record<string, string | undefined>
  try {
    const string = { type: 'string' } as const
    ;({ values } = parseArgs({
      args: [...args],
      options: { 'like-apis': string, relays: string, consumers: string },
    }))
  } catch (cause) {
    throw new Failure('CONFIG_INVALID', `${(cause as Error).message} Usage: ${usage}`, { cause })
  }
  const count = (name: keyof typeof countMax): number => {
    const text = values[name] ?? '2'
    if (!/^[1-9]\d?$/.test(text) || Number(text) > countMax[name]) {
      throw new Failure(
        'CONFIG_INVALID',
        `--${name} is ${JSON.stringify(text)}; it must be 1 to ${countMax[name]}. Usage: ${usage}`,
      )
    }
    return Number(text)
  }
  return { likeApis: count('like-apis'), relays: count('relays'), consumers: count('consumers') }
}

/**
 * Aborts at the first signal to stop. A terminal's Ctrl-C reaches us twice, from the terminal and from npm; only one that
 * comes a second later is a person who does not want to wait.
 */
function stopSignal(home: string): AbortSignal {
  const stopping = new AbortController()
  let firstMs: number | undefined
  const onSignal = () => {
    if (firstMs === undefined) {
      firstMs = performance.now()
      say('\nStopping; data is kept.')
      stopping.abort()
    } else if (performance.now() - firstMs > 1_000) {
      killOwn(home)
      process.exit(1)
    }
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  return stopping.signal
}

function step(what: string): () => void {
  const begunMs = performance.now()
  process.stdout.write(`  ${what} …`)
  return () => {
    process.stdout.write(` ${((performance.now() - begunMs) / 1000).toFixed(1)} s\n`)
  }
}

function welcome({ services, servers }: Stack): string {
  const urls = (app: string) => services.filter((s) => s.plan.app === app).map((s) => s.url)
  const [api = ''] = urls('like-api')
  const [metrics = ''] = urls('metrics-api')
  const database = new URL(servers.catalogDatabaseUrl)
  const rows = [
    ...['like-api', 'metrics-api', 'outbox-relay', 'metrics-consumer'].map((app) => [
      app,
      urls(app).join('  '),
    ]),
    ['PostgreSQL', `${database.host}${database.pathname}  (${servers.kind})`],
    ['Kafka', `${servers.kafkaBrokers}  (${servers.kind})`],
  ]
  return [
    '',
    ...rows.map(([name = '', where = '']) => `  ${name.padEnd(18)}${where}`),
    '',
    '  Like a product, then read its count:',
    `    curl -X POST ${api}/api/likes -H 'content-type: application/json' -d '{"userId":1,"productId":100}'`,
    `    curl ${metrics}/api/products/100/metrics`,
    '  In another terminal: npm run demo · npx likewise status',
    '',
    'likewise is ready. Ctrl-C stops it; data is kept.',
  ].join('\n')
}

const say = (text: string): void => {
  process.stdout.write(`${text}\n`)
}
