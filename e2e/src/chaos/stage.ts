import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type EmbeddedKafka,
  type EmbeddedPostgres,
  type RunningService,
  removeHome,
  startService,
  stopService,
} from '@likewise/local-servers'
import { buildLogger, parseBrokers, pause } from '@likewise/service'
import { openDatabase } from '../faults/bed.ts'
import { makeTopics } from '../faults/consumer/bed.ts'
import { noteSteps } from '../faults/consumer/read-model.ts'
import { type Link, openLink } from '../faults/link.ts'
import type { SmallDisk } from '../faults/small-disk.ts'
import { freePorts } from '../system.ts'
import type { ChaosApp } from './plan.ts'
import type { LogNote, Sources } from './read-history.ts'

/** Servers of its own, services as processes, and a link between each of them and each server. */
export interface Stage extends Sources {
  readonly databaseUrl: string
  /** For files; it goes with the stage. */
  readonly home: string
  /** Where it is the stage's own. */
  readonly postgres?: EmbeddedPostgres
  readonly broker: EmbeddedKafka
  readonly disks: Disks
  readonly apis: readonly string[]
  /** Whoever changes the topic on purpose writes it down here, for the checker. */
  readonly notes: LogNote[]
  /** Starts one more process of an app; what ends by itself is started again, as a platform does. */
  add(app: ChaosApp, env?: Readonly<Record<string, string>>): Promise<Actor>
  /** Ends it in order, for good. */
  remove(actor: Actor): Promise<void>
  actor(app: ChaosApp, instance: number): Actor | undefined
  actors(app: ChaosApp): readonly Actor[]
  stop(): Promise<void>
}

/** Where the servers' data lies, if it can be full. */
interface Disks {
  readonly postgres?: SmallDisk | undefined
  readonly kafka?: SmallDisk | undefined
}

export interface Actor {
  readonly app: ChaosApp
  readonly name: string
  readonly links: { readonly postgres: Link; readonly kafka: Link }
  /** The present process; between an end and the next start the one before. */
  readonly running: () => RunningService
  /** Settings of its next start. */
  readonly setEnv: (env: Readonly<Record<string, string>>) => void
  /** Ends it in order, and it stays away until what is returned is called. */
  readonly rest: () => Promise<() => void>
}

const restartMs = 500
const settings = { RELAY_BACKOFF_CAP_MS: '2000', LOG_LEVEL: 'info' }

/** Servers that a stage may break. Without a PostgreSQL it has a fresh database of the tests' own. */
export interface StageServers {
  readonly postgres?: EmbeddedPostgres
  readonly broker: EmbeddedKafka
  readonly disks?: Disks
}

/** The topics are made anew. */
export async function openStage(
  counts: Readonly<Record<ChaosApp, number>>,
  { postgres, broker, disks = {} }: StageServers,
): Promise<Stage> {
  const kafkaBrokers = broker.brokers
  const log = buildLogger({ service: 'e2e', level: 'silent' })
  const kafka = { brokers: parseBrokers(kafkaBrokers), clientId: 'e2e', requestTimeoutMs: 10_000, log }
  await makeTopics(kafka, 12)
  const database = await openDatabase(postgres?.url)
  const { db, url: databaseUrl } = database
  await noteSteps(db)
  const home = await mkdtemp(join(tmpdir(), 'likewise-chaos-'))
  const ports = await freePorts()
  const actors: Kept[] = []
  const made = new Map<ChaosApp, number>()

  async function add(app: ChaosApp, env: Readonly<Record<string, string>> = {}): Promise<Kept> {
    const number = (made.get(app) ?? 0) + 1
    made.set(app, number)
    // Those of the beginning keep theirs; guests, one after the other, share the rest of the block.
    const place =
      number <= counts[app] ? number - 1 : counts[app] + ((number - counts[app] - 1) % (8 - counts[app]))
    const plan = { app, name: `${app}-${number}`, port: ports[app] + place }
    const kept = await keep({ home, plan, databaseUrl, kafkaBrokers, env })
    actors.push(kept)
    return kept
  }
  for (const [app, count] of Object.entries(counts) as [ChaosApp, number][]) {
    await Promise.all(Array.from({ length: count }, () => add(app)))
  }
  return {
    ...{ db, databaseUrl, kafka, kafkaBrokers, group: 'metrics-consumer' },
    ...{ home, broker, disks, notes: [] },
    ...(postgres ? { postgres } : {}),
    apis: Array.from({ length: counts['like-api'] }, (_, i) => `http://127.0.0.1:${ports['like-api'] + i}`),
    add,
    async remove(actor) {
      const kept = actors.find((one) => one === actor)
      if (kept === undefined) return
      actors.splice(actors.indexOf(kept), 1)
      await kept.stop()
    },
    actor: (app, instance) => actors.find(({ name }) => name === `${app}-${instance}`),
    actors: (app) => actors.filter((actor) => actor.app === app),
    async stop() {
      await Promise.all(actors.map((actor) => actor.stop()))
      await database.drop()
      await removeHome(home)
    },
  }
}

interface Kept extends Actor {
  stop(): Promise<void>
}

interface KeepOptions {
  home: string
  plan: { app: ChaosApp; name: string; port: number }
  databaseUrl: string
  kafkaBrokers: string
  env: Readonly<Record<string, string>>
}

async function keep({ home, plan, databaseUrl, kafkaBrokers, ...options }: KeepOptions): Promise<Kept> {
  const url = new URL(databaseUrl)
  const links = { postgres: await openLink(url.host), kafka: await openLink(kafkaBrokers) }
  url.host = links.postgres.address
  const { NODE_OPTIONS: _n, ...inherited } = process.env
  const connections = {
    CATALOG_DATABASE_URL: url.href,
    METRICS_DATABASE_URL: url.href,
    KAFKA_BROKERS: links.kafka.address,
  }
  const stopping = new AbortController()
  let { env } = options
  const start = () =>
    startService({
      home,
      plan,
      env: { ...inherited, ...connections, ...settings, ...env },
      signal: stopping.signal,
    })
  let running = await start()

  const isOver = (): boolean => stopping.signal.aborted
  let resting = 0
  async function supervise(): Promise<void> {
    while (!isOver()) {
      await running.process.exited
      await pause(restartMs, stopping.signal)
      while (!isOver() && running.process.hasExited()) {
        // Where a server is away it does not become ready: the next start finds it there.
        const started = resting > 0 ? undefined : await start().catch(() => undefined)
        if (started) running = started
        else await pause(restartMs, stopping.signal)
      }
    }
  }
  const supervising = supervise()
  return {
    app: plan.app,
    name: plan.name,
    links,
    running: () => running,
    setEnv: (next) => void (env = next),
    async rest() {
      resting += 1
      if (!running.process.hasExited()) await stopService(running)
      return () => void (resting -= 1)
    },
    async stop() {
      stopping.abort()
      if (!running.process.hasExited()) {
        process.kill(running.process.pid, 'SIGCONT')
        await stopService(running)
      }
      await supervising
      await Promise.all([links.postgres.stop(), links.kafka.stop()])
    },
  }
}
