import { randomUUID } from 'node:crypto'
import { type Database, sql } from '@likewise/database'
import { freshDatabase, urlAs } from '@likewise/database/testing'
import { readMarks } from '@likewise/inbox'
import {
  type KafkaOptions,
  type OutgoingRecord,
  type Subscriber,
  buildPublisher,
  ensureTopics,
  removeTopics,
} from '@likewise/kafka'
import { pause } from '@likewise/service'
import type { Command } from 'commander'
import { joinGroup, kafkaOf, saidBy } from './command-testing.ts'
import { addReplayCommand } from './replay.ts'
import { type Tools, addRebuildCommand } from './rebuild.ts'
import { emptied, recordOf } from './rebuild-testing.ts'
import { addSnapshotCommands } from './snapshot.ts'

/** A topic with a consumer and its read model, and `likewise …` for them. */
export interface RebuildBed {
  readonly db: Database
  readonly kafka: KafkaOptions
  readonly topic: string
  readonly consumer: string
  /** A topic and a consumer of their own, for the next test. */
  fresh(): Promise<void>
  publish(records: readonly OutgoingRecord[]): Promise<unknown>
  /** Likes as a relay sends them; `value`: what stands in the place of each one's own. */
  likes(count: number, products?: number, value?: string): OutgoingRecord[]
  send(count: number, products?: number): Promise<unknown>
  /** The consumer, as metrics-consumer has it. */
  consume(): void
  leave(): Promise<void>
  /** Consumes until so many are handled. */
  handle(count: number): Promise<void>
  handledAll(count: number): Promise<boolean>
  until(what: string, holds: () => Promise<boolean>): Promise<void>
  /** Of all products. */
  total(): Promise<number>
  inWindows(): Promise<number>
  /** What `likewise …` says. */
  run(...words: string[]): Promise<string>
  close(): Promise<void>
}

const partitions = 3

/** `env`: the test's own, from which `likewise …` has its settings. */
export async function openRebuildBed(name: string, env: NodeJS.ProcessEnv): Promise<RebuildBed> {
  const kafka = kafkaOf(env)
  const test = await freshDatabase(name)
  env['METRICS_DATABASE_URL'] = urlAs('likewise_operator', test.url)
  const publisher = buildPublisher({ ...kafka, sendLimitMs: 10_000 })
  const made: string[] = []
  let [topic, consumer] = ['', '']
  let member: Subscriber | undefined

  const bed: RebuildBed = {
    ...{ db: test.db, kafka },
    get topic() {
      return topic
    },
    get consumer() {
      return consumer
    },
    async fresh() {
      await emptied(test.db)
      ;[topic, consumer] = [`test-${randomUUID()}`, `test-${randomUUID()}`]
      made.push(topic)
      await ensureTopics(kafka, [{ topic, partitions, replicationFactor: 1, retentionMs: 3_600_000 }])
      env['CONSUMER_GROUP'] = consumer
    },
    publish: (records) => publisher.publish(records),
    likes: (count, products = 20, value) =>
      Array.from({ length: count }, (_, i) => {
        const { key, value: own, headers } = recordOf({ product: 1 + (i % products) })
        return { topic, key, value: value ?? own, headers }
      }),
    send: (count, products) => publisher.publish(bed.likes(count, products)),
    consume() {
      member = joinGroup({ kafka, db: test.as('likewise_consumer'), topic, consumer })
    },
    async leave() {
      await member?.stop()
      member = undefined
    },
    async handle(count) {
      bed.consume()
      await bed.until('all is handled', () => bed.handledAll(count))
      await bed.leave()
    },
    async handledAll(count) {
      const marks = await readMarks(test.db, consumer, topic)
      return marks.reduce((sum, { nextOffset }) => sum + Number(nextOffset), 0) >= count
    },
    until: inTime,
    total: () => one(test.db, sql`sum(like_count)::float8 as n from metrics.product_metrics`),
    inWindows: () =>
      one(test.db, sql`
        sum(added - removed)::float8 as n from (select added, removed from metrics.product_like_windows
          union all select added, removed from metrics.product_like_hours
          union all select added, removed from metrics.product_like_days) as buckets`), // prettier-ignore
    run: (...words) => saidBy(addCommands, words, { kafkaOptions: () => kafka, topic }),
    async close() {
      await publisher.stop()
      await removeTopics(kafka, made)
      await test.drop()
    },
  }
  return bed
}

async function inTime(what: string, holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 40_000
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`Not in time: ${what}`)
    await pause(20)
  }
}

async function one(db: Database, what: ReturnType<typeof sql>): Promise<number> {
  const [row] = await db.query<{ n: number | null }>(sql`select ${what}`)
  return row?.n ?? 0
}

function addCommands(program: Command, tools: Tools): void {
  addRebuildCommand(program, tools)
  addReplayCommand(program, tools)
  addSnapshotCommands(program, tools.output.say, tools.topic)
}
