import { sql } from '@likewise/database'
import { openTx } from '@likewise/database/testing'
import { topics } from '@likewise/events'
import { readTopicEnds } from '@likewise/kafka'
import { enqueue } from '@likewise/outbox'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from '@jest/globals'
import { check } from '../checker/check.ts'
import type { Request } from '../checker/history.ts'
import { type Anomaly, countByName, explain } from '../checker/verdict.ts'
import { kill } from '../faults/bed.ts'
import { readUnsettled } from '../faults/delivery.ts'
import { likeOf } from '../faults/load.ts'
import { ownKafka, ownPostgres } from '../faults/own-servers.ts'
import { type Patch, patched } from '../faults/patched.ts'
import { lockEffects } from '../faults/table-lock.ts'
import { eventually } from '../system.ts'
import { askOnce } from './clients.ts'
import { repeatRecords } from './log-faults.ts'
import * as mutants from './mutants.ts'
import { readHistory, readRestless } from './read-history.ts'
import { type Actor, type Stage, openStage } from './stage.ts'

let broker: Awaited<ReturnType<typeof ownKafka>>
let stage: Stage
let requests: Request[]
beforeAll(async () => {
  broker = await ownKafka()
}, 120_000)
afterAll(() => broker.remove(), 60_000)
beforeEach(async () => {
  stage = await openStage(
    { 'like-api': 1, 'outbox-relay': 0, 'metrics-consumer': 0 },
    { broker: broker.server },
  )
  requests = []
}, 60_000)
afterEach(() => stage.stop(), 60_000)

const env = {
  RELAY_LEASE_MS: '2000',
  RELAY_SEND_LIMIT_MS: '1000',
  RELAY_BACKOFF_CAP_MS: '200',
  RELAY_POLL_MAX_MS: '50',
}
const start = (app: 'outbox-relay' | 'metrics-consumer', ...patches: Patch[]) =>
  stage.add(app, patches.length === 0 ? env : { ...env, NODE_OPTIONS: patched(...patches) })
/** What is killed comes back without its bug, as if it had been mended just then. */
async function killAndMend(actor: Actor, mend: () => void = () => undefined): Promise<void> {
  const { process } = actor.running()
  actor.setEnv(env)
  await kill(actor.running())
  mend()
  await eventually(async () => actor.running().process !== process, 60_000)
}

async function like(userId: number, liked = true, productId = 1): Promise<void> {
  requests.push(await askOnce({ userId, productId, liked }, stage.apis[0] ?? ''))
}
const onTopic = async () =>
  (await readTopicEnds(stage.kafka, topics.catalogEvents)).reduce((sum, { end }) => sum + Number(end), 0)
/** The first event of a shard, and the first record of a partition, go a way of their own. */
async function warmUp(): Promise<void> {
  await like(9)
  await eventually(async () => (await onTopic()) === 1)
}
const handled = async () => (await stage.db.query(sql`select from metrics.event_handled`)).length
/** Small batches are one statement from the second one of a partition on, or the third where the first one took long. */
async function warmConsumer(): Promise<void> {
  for (const userId of [8, 7]) {
    await eventually(async () => (await handled()) === requests.length)
    await like(userId)
  }
  await eventually(async () => (await handled()) === requests.length)
}
const end = (pids: readonly number[]) =>
  stage.db.query(sql`select pg_terminate_backend(pid) from unnest(${pids}::int[]) as pid`)

/** A consumer with that bug is killed in the middle of the transaction that handles a like; another like comes after it. */
async function killInItsTransaction(bug: Patch): Promise<void> {
  await start('outbox-relay')
  const consumer = await start('metrics-consumer', bug)
  await warmUp()
  await warmConsumer()
  const lock = await lockEffects(stage.db)
  await like(1)
  const pids = await lock.waiting()
  await killAndMend(consumer)
  await end(pids)
  await lock.release()
  await like(2)
  await quiet()
}

async function quiet(): Promise<void> {
  await eventually(async () => (await readRestless(stage)).length === 0, 60_000)
}
const judge = async () => check(await readHistory(stage, requests))
async function expectAnomaly(anomaly: Anomaly): Promise<void> {
  const verdict = await judge()
  expect(explain(verdict)).toContain(`The shortest explanation, ${anomaly}: `)
  expect([...countByName(verdict).keys()]).toEqual([anomaly])
}

it('without a bug the verdict is that all is right', async () => {
  await Promise.all([start('outbox-relay'), start('metrics-consumer')])
  for (const liked of [true, false, true]) await like(1, liked)
  await like(2)
  await quiet()
  expect(explain(await judge())).toMatch(
    /^Valid: 4 requests \(4 answered 2xx, 0 unknown\), 4 events, 4 records/,
  )
}, 90_000)

it('a relay that settles before it publishes, and is killed in between: lost write', async () => {
  const relay = await start('outbox-relay', mutants.settleFirst)
  await warmUp()
  const consumer = start('metrics-consumer')
  relay.links.kafka.hold('up')
  await like(1)
  await eventually(async () => (await readUnsettled(stage.db)).length === 0)
  await killAndMend(relay, () => relay.links.kafka.release())
  await consumer
  await like(2)
  await quiet()
  await expectAnomaly('lost write')
}, 120_000)

it('a relay that only looks for what is greater, under a transaction that commits late: lost write', async () => {
  await Promise.all([start('outbox-relay', mutants.greaterOnly), start('metrics-consumer')])
  const late = await openTx(stage.db)
  const pair = { userId: 7, productId: 1 }
  requests.push({
    ...pair,
    liked: true,
    answer: 'done',
    changed: true,
    beganMs: performance.now(),
    endedMs: Infinity,
  })
  await late.tx.execute(sql`insert into catalog.likes (user_id, product_id) values (7, 1)`)
  await enqueue(late.tx, likeOf(topics.catalogEvents, 7, '1'))
  await like(1)
  await eventually(async () => (await onTopic()) === 1)
  await late.commit()
  await like(2)
  await quiet()
  await expectAnomaly('lost write')
}, 90_000)

it('a like and a relay that are told of a commit before it is on disk, and a power cut: aborted read', async () => {
  const own = await ownPostgres()
  const lossy = { ...env, NODE_OPTIONS: patched(mutants.asynchronousCommit) }
  await stage.stop()
  stage = await openStage(
    { 'like-api': 0, 'outbox-relay': 0, 'metrics-consumer': 0 },
    { postgres: own.server, broker: broker.server },
  )
  try {
    const [api, relay] = await Promise.all([stage.add('like-api', lossy), stage.add('outbox-relay', lossy)])
    // Between two of its rounds nothing is flushed by itself.
    await stage.db.execute(sql`alter system set wal_writer_delay = '10s'`)
    await stage.db.query(sql`select pg_reload_conf()`)
    requests.push(await askOnce({ userId: 1, productId: 1, liked: true }, api.running().url))
    await eventually(async () => (await onTopic()) === 1)
    await own.server.process?.stop('SIGQUIT', 10_000)
    await own.server.start()
    await Promise.all([killAndMend(api), killAndMend(relay), start('metrics-consumer')])
    requests.push(await askOnce({ userId: 2, productId: 1, liked: true }, api.running().url))
    await quiet()
    const verdict = await judge()
    expect([...countByName(verdict).keys()].sort()).toEqual(['aborted read', 'lost write'])
  } finally {
    await stage.stop()
    await own.remove()
    stage = await openStage(
      { 'like-api': 0, 'outbox-relay': 0, 'metrics-consumer': 0 },
      { broker: broker.server },
    )
  }
}, 180_000)

it('a consumer that marks the offset first, and is killed before the work: lost write', async () => {
  await killInItsTransaction(mutants.markFirst)
  await expectAnomaly('lost write')
}, 120_000)

it('a consumer that remembers first, and is killed before the work: torn write', async () => {
  await killInItsTransaction(mutants.rememberFirst)
  await expectAnomaly('torn write')
}, 120_000)

it('a consumer that does not look at what it remembers, and gets records twice: duplicate effect', async () => {
  await Promise.all([start('outbox-relay'), start('metrics-consumer', mutants.noMemory)])
  await like(1)
  await warmConsumer()
  await repeatRecords(stage)
  await quiet()
  await expectAnomaly('duplicate effect')
}, 90_000)

it('a relay that sends a page from its end, after Kafka was away: order', async () => {
  const relay = await start('outbox-relay', mutants.backwards)
  await warmUp()
  relay.links.kafka.poison({ kind: 'down' })
  for (const liked of [true, false, true]) await like(1, liked)
  relay.links.kafka.poison(null)
  await start('metrics-consumer')
  await quiet()
  await expectAnomaly('order')
}, 90_000)

it('a relay that gives an event up after three attempts, while Kafka is away: stuck', async () => {
  const relay = await start('outbox-relay', mutants.retryBudget)
  relay.links.kafka.poison({ kind: 'down' })
  await like(1)
  await eventually(async () => (await readUnsettled(stage.db)).join() === 'PARKED 1', 60_000)
  relay.links.kafka.poison(null)
  await start('metrics-consumer')
  await expectAnomaly('stuck')
}, 120_000)

it('a consumer that begins at the end of the log, where the group is new: unseen', async () => {
  await start('outbox-relay')
  await like(1)
  await eventually(async () => (await onTopic()) === 1)
  await start('metrics-consumer', mutants.fromTheEnd)
  // Of another partition: a record that comes shows the consumer what lies before it, too.
  for (let userId = 2; (await handled()) === 0; userId += 1) await like(userId, true, 2)
  await eventually(async () => (await handled()) === requests.length - 1)
  await expectAnomaly('unseen')
}, 90_000)

it('a consumer that tells Kafka its offsets first, and is killed before the work, loses nothing: the mark in the database decides', async () => {
  await killInItsTransaction(mutants.offsetsFirst)
  expect(explain(await judge())).toMatch(/^Valid: /)
}, 120_000)
