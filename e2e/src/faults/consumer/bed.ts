import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile } from 'node:fs/promises'
import { platform, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Database } from '@likewise/database'
import { urlAs } from '@likewise/database/testing'
import { topicPlans, topics } from '@likewise/events'
import {
  type KafkaOptions,
  type Publisher,
  buildPublisher,
  ensureTopics,
  readGroupPositions,
  removeTopics,
} from '@likewise/kafka'
import { type RunningService, freePort, removeHome, startService } from '@likewise/local-servers'
import { buildLogger, parseBrokers, pause } from '@likewise/service'
import { eachRecord } from '../../order.ts'
import { eventually } from '../../system.ts'
import { openDatabase, readPeakBytes } from '../bed.ts'
import { type Effects, buildTopicLog, compare } from './effects.ts'
import { noteSteps, readModel, readUnread } from './read-model.ts'

/** A database, the topics of a broker that is the test's own, and the consumers that a test starts between them. */
export interface ConsumerBed {
  readonly db: Database
  readonly databaseUrl: string
  readonly kafka: KafkaOptions
  readonly kafkaBrokers: string
  readonly group: string
  readonly publisher: Publisher
  /** One that knows the topic as it is now. */
  freshPublisher(): Publisher
  /** Starts a consumer as a process and waits until it is ready; ended with the bed, if it still runs. */
  consumer(options?: ConsumerSettings): Promise<RunningService>
  /** Waits until all of the topic is handled and told to the broker, then reads the topic and compares. */
  effects(withinMs?: number): Promise<Effects>
  stop(): Promise<void>
}

interface ConsumerSettings {
  /** Through a link, instead of straight to the servers. */
  databaseUrl?: string
  kafkaBrokers?: string
  env?: Record<string, string>
}

interface BedOptions {
  /** Services read catalog-events and no other: so it is a broker of the test's own, whose topics can be made anew. */
  kafkaBrokers: string
  /** Of a server of the test's own. */
  databaseUrl?: string
  partitions?: number
}

/** Larger than what the consumer takes for a like's value: see the records that are too large. */
const recordBytesMax = 4_000_000

export async function makeConsumerBed(options: BedOptions): Promise<ConsumerBed> {
  const { kafkaBrokers } = options
  const log = buildLogger({ service: 'e2e', level: 'silent' })
  const kafka = { brokers: parseBrokers(kafkaBrokers), clientId: 'e2e', requestTimeoutMs: 10_000, log }
  const group = `faults-${randomUUID()}`
  await makeTopics(kafka, options.partitions ?? 12)
  const home = await mkdtemp(join(tmpdir(), 'likewise-faults-'))
  const database = await openDatabase(options.databaseUrl)
  const { db, url: databaseUrl } = database
  await noteSteps(db)
  const publishers: Publisher[] = []
  const freshPublisher = () => {
    const publisher = buildPublisher({ ...kafka, sendLimitMs: 10_000 })
    publishers.push(publisher)
    return publisher
  }
  const consumers: RunningService[] = []
  let started = 0
  const readEnds = () => readGroupPositions(kafka, topics.catalogEvents, group)
  return {
    ...{ db, databaseUrl, kafka, kafkaBrokers, group, freshPublisher },
    publisher: freshPublisher(),
    async consumer(settings = {}) {
      const name = `metrics-consumer-${String((started += 1))}`
      const env = consumerEnv({ databaseUrl, kafkaBrokers, ...settings }, group)
      const plan = { app: 'metrics-consumer', name, port: await freePort() } as const
      const consumer = await startService({ home, plan, env })
      consumers.push(consumer)
      return consumer
    },
    async effects(withinMs = 60_000) {
      await quiet(async () => readUnread(db, group, await readEnds()), withinMs)
      const found = buildTopicLog()
      await eachRecord({ kafkaBrokers, topic: topics.catalogEvents, withinMs }, found.note)
      const running = consumers.filter(({ process }) => !process.hasExited())
      // Only Linux tells.
      const peaks = platform() === 'linux' ? await Promise.all(running.map(readPeakBytes)) : []
      return compare(found, await readModel(db, group, await readEnds()), peaks)
    },
    async stop() {
      for (const { process } of consumers) if (!process.hasExited()) await process.stop('SIGKILL', 0)
      await Promise.all(publishers.map((publisher) => publisher.stop()))
      await database.drop()
      const warnings = await Promise.all(consumers.map(({ logFile }) => readWarnings(logFile)))
      await removeHome(home)
      if (warnings.flat().length > 0)
        throw new Error(`A consumer's Node warned: ${warnings.flat().join('; ')}`)
    },
  }
}

/** What Node itself has to say of a process, such as listeners that pile up. */
async function readWarnings(logFile: string): Promise<string[]> {
  const text = await readFile(logFile, 'utf8')
  return text.split('\n').filter((line) => /^\(node:\d+\) .*Warning/.test(line))
}

/** Anew, whatever was on them. */
export async function makeTopics(kafka: KafkaOptions, partitions: number): Promise<void> {
  const plans = topicPlans.map((plan) =>
    plan.topic === topics.catalogEvents ? { ...plan, partitions, maxMessageBytes: recordBytesMax } : plan,
  )
  await removeTopics(
    kafka,
    plans.map(({ topic }) => topic),
  )
  const made = new Set<string>()
  // A broker knows a deleted topic for a moment longer.
  await eventually(async () => {
    for (const topic of await ensureTopics(kafka, plans).catch(() => [])) made.add(topic)
    return made.size === plans.length || pause(100).then(() => false)
  })
}

function consumerEnv(
  { databaseUrl, kafkaBrokers, env = {} }: ConsumerSettings & { databaseUrl: string },
  group: string,
): Record<string, string | undefined> {
  const { NODE_OPTIONS: _n, ...inherited } = process.env
  const url = urlAs('likewise_consumer', databaseUrl)
  const connections = { CONSUMER_DATABASE_URL: url, KAFKA_BROKERS: kafkaBrokers }
  return { ...inherited, ...connections, CONSUMER_GROUP: group, LOG_LEVEL: 'info', ...env }
}

async function quiet(readWaiting: () => Promise<string[]>, withinMs: number): Promise<void> {
  const endMs = performance.now() + withinMs
  for (;;) {
    const waiting = await readWaiting().catch((error: unknown) => [String(error)])
    if (waiting.length === 0) return
    if (performance.now() > endMs)
      throw new Error(`Not handled within ${String(withinMs)} ms: ${waiting.join('; ')}`)
    await pause(250)
  }
}
