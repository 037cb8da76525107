import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, connectDatabase, migrate } from '@likewise/database'
import { freshDatabase, urlAs } from '@likewise/database/testing'
import { type KafkaOptions, ensureTopics, removeTopics } from '@likewise/kafka'
import { type RunningService, freePort, removeHome, startService, stopService } from '@likewise/local-servers'
import { disableWal, enableWal } from '@likewise/outbox'
import { buildLogger, parseBrokers, pause } from '@likewise/service'
import { eachRecord } from '../order.ts'
import { type Delivery, buildLog, compare, readUnsettled } from './delivery.ts'

/** A database and a topic of its own, and the relays that a test starts between them. */
export interface Bed {
  readonly db: Database
  readonly databaseUrl: string
  readonly kafka: KafkaOptions
  readonly kafkaBrokers: string
  readonly topic: string
  /** Starts a relay as a process and waits until it is ready; ended with the bed, if it still runs. */
  relay(options?: RelaySettings): Promise<RunningService>
  /** Waits until nothing waits in the outbox but what is parked or discarded, then reads the topic and compares. */
  delivery(withinMs?: number): Promise<Delivery>
  stop(): Promise<void>
}

interface RelaySettings {
  /** Through a link, instead of straight to the servers. */
  databaseUrl?: string
  kafkaBrokers?: string
  env?: Record<string, string>
}

interface BedServers {
  /** Of a server of the test's own. */
  databaseUrl?: string
  kafkaBrokers?: string
}

/** As for catalog-events: Kafka counts it from the times of the records, which are its own. */
export const retentionMs = 14 * 86_400_000

/** RELAY_SOURCE=wal: all beds publish from the write-ahead log; their relays have the setting from the environment. */
export const isWal = process.env['RELAY_SOURCE'] === 'wal'

const relaySettings = { RELAY_LEASE_MS: '2000', RELAY_BACKOFF_CAP_MS: '2000', LOG_LEVEL: 'info' }

export async function makeBed(servers: BedServers = {}): Promise<Bed> {
  const { kafkaBrokers = process.env['KAFKA_BROKERS'] ?? '' } = servers
  const log = buildLogger({ service: 'e2e', level: 'silent' })
  const kafka = { brokers: parseBrokers(kafkaBrokers), clientId: 'e2e', requestTimeoutMs: 10_000, log }
  const topic = `faults-${randomUUID()}`
  const home = await mkdtemp(join(tmpdir(), 'likewise-faults-'))
  const database = await openDatabase(servers.databaseUrl)
  const { db, url: databaseUrl } = database
  await ensureTopics(kafka, [{ topic, partitions: 12, retentionMs }])
  const relays: RunningService[] = []
  let started = 0
  const bed: Bed = {
    db,
    databaseUrl,
    kafka,
    kafkaBrokers,
    topic,
    async relay(options = {}) {
      const name = `outbox-relay-${String((started += 1))}`
      const env = relayEnv({ databaseUrl, kafkaBrokers, ...options })
      const plan = { app: 'outbox-relay', name, port: await freePort() } as const
      const relay = await startService({ home, plan, env })
      relays.push(relay)
      return relay
    },
    async delivery(withinMs = 60_000) {
      await quiet(db, withinMs)
      const found = buildLog()
      await eachRecord({ kafkaBrokers, topic, withinMs }, found.note)
      return compare(db, found)
    },
    async stop() {
      for (const relay of relays) if (!relay.process.hasExited()) await relay.process.stop('SIGKILL', 0)
      // The slot's name is the server's; where the server is the test's own, it may be gone.
      if (isWal) await disableWal(walSwitch(bed)).catch(() => undefined)
      await removeTopics(kafka, [topic]).catch(() => undefined) // the broker may be the test's own, and gone
      await database.drop()
      await removeHome(home)
    },
  }
  if (isWal) {
    await readFromWal(bed).catch(async (error: unknown) => {
      await bed.stop()
      throw error
    })
  }
  return bed
}

const walSwitch = ({ db, databaseUrl }: Bed) => ({
  db,
  url: databaseUrl,
  patienceMs: 30_000,
  say: () => undefined,
})

/** A change of the way needs a relay that still polls. */
async function readFromWal(bed: Bed): Promise<void> {
  const relay = await bed.relay({ env: { RELAY_SOURCE: 'poll' } })
  await enableWal(walSwitch(bed))
  await relay.process.stop('SIGTERM', 10_000)
}

function relayEnv({
  databaseUrl,
  kafkaBrokers,
  env = {},
}: Required<BedServers> & RelaySettings): Record<string, string | undefined> {
  const { NODE_OPTIONS: _n, ...inherited } = process.env
  return {
    ...inherited,
    RELAY_DATABASE_URL: urlAs('likewise_relay', databaseUrl),
    KAFKA_BROKERS: kafkaBrokers,
    ...relaySettings,
    ...env,
  }
}

/** A fresh one, or on a server of the test's own. */
export async function openDatabase(url: string | undefined) {
  if (url === undefined) return freshDatabase('faults')
  await migrate(url)
  const [connectTimeoutMs, statementTimeoutMs] = [5_000, 60_000]
  const limits = { poolSizeMax: 4, connectTimeoutMs, statementTimeoutMs }
  const db = connectDatabase({ url, ...limits, applicationName: 'likewise-e2e' })
  return { db, url, drop: () => db.stop() }
}

/** Rarely asked: the view counts the whole outbox. */
async function quiet(db: Database, withinMs: number): Promise<void> {
  const endMs = performance.now() + withinMs
  for (;;) {
    const waiting = await readUnsettled(db).catch((error: unknown) => [String(error)])
    if (waiting.every((status) => /^(PARKED|DISCARDED) /.test(status))) return
    if (performance.now() > endMs)
      throw new Error(`Not published within ${String(withinMs)} ms: ${waiting.join(', ')}`)
    await pause(250)
  }
}

/** A process that ends in order, as a deployment would have it. */
export const leave = (service: RunningService): Promise<void> => stopService(service)

/** kill -9, as a machine that loses power would end it. */
export const kill = ({ process }: RunningService): Promise<unknown> => process.stop('SIGKILL', 0)

/** What the probes of a process say of a number; the sum over its labels. */
export async function readMetric({ url }: RunningService, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(10_000) })).text()
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

/** The most memory a process has had at once. */
export async function readPeakBytes({ process: { pid } }: RunningService): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8')
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? NaN) * 1_024
}
