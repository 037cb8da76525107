import { randomUUID } from 'node:crypto'
import { type Database, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase, urlAs } from '@likewise/database/testing'
import { envelopeOf, shardOf } from '@likewise/events'
import {
  type OutgoingRecord,
  type Subscriber,
  buildPublisher,
  ensureTopics,
  removeTopics,
} from '@likewise/kafka'
import { type OutboxEvent, type Relay, enqueueRows, startRelay } from '@likewise/outbox'
import { Failure, buildTelemetry, pause } from '@likewise/service'
import type { Command } from 'commander'
import { joinGroup, kafkaOf, log, saidBy } from './command-testing.ts'
import type { Tools } from './rebuild.ts'
import type { Sides } from './verify-moment.ts'
import { addVerifyCommand } from './verify.ts'

export const kafka = kafkaOf(process.env)

export interface Change {
  readonly user: number
  readonly product: number
  readonly liked: boolean
}

/** Both sides, each with a database of its own, and what runs between them. Who sets up and looks is their owner. */
export interface VerifyWorld {
  readonly catalog: Database
  readonly metrics: Database
  /** With the rights of whoever runs the commands. */
  readonly sides: Sides
  readonly topic: string
  readonly consumer: string
  /** Likes and unlikes with their events, in one transaction, as like-api writes them. */
  change(changes: readonly Change[]): Promise<void>
  like(user: number, product: number): Promise<void>
  /** As if Kafka refused what this says so of. */
  refuse(what: (event: OutboxEvent) => boolean): void
  send(records: readonly Omit<OutgoingRecord, 'topic'>[]): Promise<void>
  startRelay(): void
  stopRelay(): Promise<void>
  startConsumer(): void
  stopConsumer(): Promise<void>
  /** Waits until the consumer has handled so much of the topic. */
  handled(records: number): Promise<void>
  /** What a command says, and how it ends. */
  run(
    add: (program: Command, tools: Tools) => void,
    ...words: string[]
  ): Promise<{ text: string; code: number }>
  /** The same of `likewise verify …`. */
  verify(...words: string[]): Promise<{ text: string; code: number }>
  verifyJson(...words: string[]): Promise<Record<string, unknown> & { code: number; found: Found[]; repaired: { productId: number; outcome: string }[] }> // prettier-ignore
  stop(): Promise<void>
}

interface Found {
  productId: number
  likes: number
  likeCount: number
  findings: { kind: string; off: number; count: number; of: string[]; detail?: string }[]
}

const operator = 'likewise_operator'
const relayLimits = {
  ...{ pageRowsMax: 500, pageBytesMax: 900_000, pollMinMs: 2, pollMaxMs: 50, leaseMs: 2_000 },
  ...{ backoffBaseMs: 10, backoffCapMs: 100 },
}

export async function openWorld(partitions = 12): Promise<VerifyWorld> {
  const [catalog, metrics] = [await freshDatabase('verify_catalog'), await freshDatabase('verify_metrics')]
  const [topic, consumer] = [`test-${randomUUID()}`, `test-${randomUUID()}`]
  await ensureTopics(kafka, [{ topic, partitions, replicationFactor: 1, retentionMs: 3_600_000 }])
  const publisher = buildPublisher({ ...kafka, sendLimitMs: 10_000 })
  const running: { relay?: Relay; member?: Subscriber } = {}
  let isRefused: (event: OutboxEvent) => boolean = () => false
  const fail = (error: unknown) => {
    throw error
  }

  async function publish(events: readonly OutboxEvent[]): Promise<void> {
    if (events.some(isRefused)) throw new Failure('EVENT_REFUSED', 'too large, says the test')
    await publisher.publish(events.map((event) => ({ topic: event.topic, ...envelopeOf(event, '/test') })))
  }

  const world: VerifyWorld = {
    ...{ catalog: catalog.db, metrics: metrics.db, topic, consumer },
    sides: { catalog: catalog.as(operator), metrics: metrics.as(operator), kafka, topic, consumer },
    change: (changes) => change(catalog.db, topic, changes),
    like: (user, product) => world.change([{ user, product, liked: true }]),
    refuse(what) {
      isRefused = what
    },
    async send(records) {
      await publisher.publish(records.map((record) => ({ ...record, topic })))
    },
    startRelay() {
      const telemetry = buildTelemetry('test')
      const [db, url] = [catalog.as('likewise_relay'), urlAs('likewise_relay', catalog.url)]
      running.relay = startRelay({ db, url, limits: relayLimits, publish, log, telemetry, fail })
    },
    async stopRelay() {
      await running.relay?.stop()
      delete running.relay
    },
    startConsumer() {
      running.member = joinGroup({ kafka, db: metrics.as('likewise_consumer'), topic, consumer })
    },
    async stopConsumer() {
      await running.member?.stop()
      delete running.member
    },
    async handled(records) {
      for (const endMs = performance.now() + 40_000; ; await pause(20)) {
        const [marks] = await metrics.db.query<{ n: number | null }>(sql`
          select sum(next_offset)::float8 as n from metrics.consumer_offsets where consumer = ${consumer}`)
        if ((marks?.n ?? 0) >= records) return
        if (performance.now() > endMs)
          throw new Error(`Only ${String(marks?.n)} of ${String(records)} handled`)
      }
    },
    run: (add, ...words) => run({ catalog, metrics, topic, consumer, add }, words),
    verify: (...words) => world.run(addVerifyCommand, 'verify', ...words),
    async verifyJson(...words) {
      const { text, code } = await world.verify('--json', ...words)
      return { ...(JSON.parse(text) as Awaited<ReturnType<VerifyWorld['verifyJson']>>), code }
    },
    async stop() {
      await world.stopRelay()
      await world.stopConsumer()
      await publisher.stop()
      await removeTopics(kafka, [topic])
      await Promise.all([catalog.drop(), metrics.drop()])
    },
  }
  return world
}

interface Called {
  readonly catalog: TestDatabase
  readonly metrics: TestDatabase
  readonly topic: string
  readonly consumer: string
  readonly add: (program: Command, tools: Tools) => void
}

async function run(
  { catalog, metrics, topic, consumer, add }: Called,
  words: readonly string[],
): Promise<{ text: string; code: number }> {
  const { CATALOG_DATABASE_URL, METRICS_DATABASE_URL } = process.env
  const server = { CATALOG_DATABASE_URL, METRICS_DATABASE_URL }
  process.env['CATALOG_DATABASE_URL'] = urlAs(operator, catalog.url)
  process.env['METRICS_DATABASE_URL'] = urlAs(operator, metrics.url)
  process.env['CONSUMER_GROUP'] = consumer
  process.exitCode = 0
  try {
    const tools = { kafkaOptions: () => kafka, topic, deadLetters: `${topic}-dlq` }
    return { text: await saidBy(add, words, tools), code: process.exitCode }
  } finally {
    process.exitCode = 0
    Object.assign(process.env, server)
  }
}

async function change(db: Database, topic: string, changes: readonly Change[]): Promise<void> {
  const sorted = changes.toSorted((a, b) => a.product - b.product || a.user - b.user)
  await db.execute(sql`
    with wanted as (
      select * from unnest(${sorted.map(({ user }) => user)}::bigint[], ${sorted.map(({ product }) => product)}::bigint[],
                           ${sorted.map(({ liked }) => liked)}::boolean[],
                           ${sorted.map(({ product }) => shardOf(String(product)))}::smallint[])
        as w(user_id, product_id, liked, shard)
    ), added as (
      insert into catalog.likes (user_id, product_id) select user_id, product_id from wanted where liked
      on conflict do nothing returning user_id, product_id
    ), removed as (
      delete from catalog.likes as l using wanted as w
      where not w.liked and l.user_id = w.user_id and l.product_id = w.product_id returning l.user_id, l.product_id
    ), changed as (
      select w.* from wanted as w
      join (select * from added union all select * from removed) as c using (user_id, product_id)
    )
    ${enqueueRows(sql`
      select shard, uuidv7(), 'product', product_id::text,
             case when liked then 'catalog.like.added.v1' else 'catalog.like.removed.v1' end, ${topic}, product_id::text,
             format('{"userId":%s,"productId":%s,"createdAt":"%s"}', user_id, product_id,
                    to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::json, null, null::json, now()
      from changed`)}`)
}

export async function exhaust(all: AsyncGenerator): Promise<void> {
  while (!(await all.next()).done);
}
