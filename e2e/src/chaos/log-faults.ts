import { type Database, sql } from '@likewise/database'
import { topics } from '@likewise/events'
import { buildPublisher, readTopicEnds, removeGroups, removeTopics } from '@likewise/kafka'
import { pause } from '@likewise/service'
import { likewise } from '../faults/command-line.ts'
import { readRecords } from '../order.ts'
import { eventually } from '../system.ts'
import { type Heal, type Inject, byItself } from './injection.ts'
import { type Fault, type Random, buildRandom } from './plan.ts'
import type { Actor, Stage } from './stage.ts'

const topic = topics.catalogEvents

/** What happens to the topic, and to the group that reads it. Healed as docs/operations.md tells people to. */
export const logFaults = {
  repeats: (stage) => repeatRecords(stage),
  reordered: (stage, { seed }) => repeatRecords(stage, buildRandom(seed)),
  rebalances: comeAndGo,
  'offsets-back': readAgain,
  partitions: morePartitions,
  'topic-again': makeAgain,
} satisfies Record<string, Inject>

const repeatedMax = 300

/**
 * The newest records of the topic come once more, in their order, as from a relay that slept with them in its hands; with
 * `random` in another order, but for those of a key: a key's order is all that anybody promises.
 */
export async function repeatRecords(
  { kafka, kafkaBrokers }: Pick<Stage, 'kafka' | 'kafkaBrokers'>,
  random?: Random,
): Promise<Heal> {
  const records = await readRecords(kafkaBrokers, topic)
  const publisher = buildPublisher({ ...kafka, sendLimitMs: 10_000 })
  const copies = records
    .slice(-repeatedMax)
    .map(({ key, value, headers }) => ({ topic, key, value, headers: textsOf(headers) }))
  try {
    if (copies.length > 0) await publisher.publish(random ? mixed(random, copies) : copies)
  } finally {
    await publisher.stop()
  }
  return byItself
}

const textsOf = (headers: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))

/** In another order, that of each key excepted. Pure. */
export function mixed<T extends { key: string | null }>(random: Random, records: readonly T[]): T[] {
  const waiting = new Map<string | null, T[]>()
  for (const record of records) waiting.set(record.key, [...(waiting.get(record.key) ?? []), record])
  const order: T[] = []
  while (waiting.size > 0) {
    const key = random.pick([...waiting.keys()])
    const [next, ...rest] = waiting.get(key) ?? []
    if (next) order.push(next)
    if (rest.length > 0) waiting.set(key, rest)
    else waiting.delete(key)
  }
  return order
}

const comeEveryMs = 2_000

/** One more consumer joins and leaves, again and again: each time all of them rebalance. */
async function comeAndGo(stage: Stage, { forMs }: Fault): Promise<Heal> {
  const over = new AbortController()
  const run = async (): Promise<void> => {
    for (let endMs = performance.now() + forMs; performance.now() < endMs && !over.signal.aborted;) {
      const guest = await stage.add('metrics-consumer')
      await pause(comeEveryMs, over.signal)
      await stage.remove(guest)
    }
  }
  const running = run().catch(() => undefined) // it may come while its servers are away
  return async () => {
    over.abort()
    await running
  }
}

/** What Kafka knows of the group is gone, by a throw of the seed also the marks of the database: all is read again. */
async function readAgain(stage: Stage, { seed }: Fault): Promise<Heal> {
  const { db, kafka, group } = stage
  const wakes = await Promise.all(stage.actors('metrics-consumer').map((actor: Actor) => actor.rest()))
  const wake: Heal = async () => {
    for (const one of wakes) one()
  }
  try {
    // Only an empty group can be removed; one of its members may have been killed a moment ago.
    await eventually(() =>
      removeGroups(kafka, [group]).then(
        () => true,
        () => false,
      ),
    )
    if (seed % 2 === 0)
      await db.execute(sql`update metrics.consumer_offsets set next_offset = 0, last_event_id = null`)
  } catch (error) {
    await wake()
    throw error
  }
  return wake
}

const partitionsMax = 48

/** Without waiting until the old ones are drained, as nobody should. */
async function morePartitions(stage: Stage): Promise<Heal> {
  const from = (await readTopicEnds(stage.kafka, topic)).length
  const to = from + 12
  if (to > partitionsMax) throw new Error(`there are ${String(from)} by now`)
  // First: it may come about although nobody hears of it.
  stage.notes.push({ kind: 'partitions added', step: await readStep(stage.db), from, to })
  await command(stage, ['topics', '--partitions', String(to)], `has ${String(to)} partitions`)
  return byItself
}

/** The topic is deleted; made again, it gets what the outbox still holds. */
async function makeAgain(stage: Stage): Promise<Heal> {
  const { db, kafka, notes } = stage
  const partitions = (await readTopicEnds(kafka, topic)).length
  const step = await readStep(db)
  const isGone = () =>
    readTopicEnds(kafka, topic).then(
      () => false,
      () => true,
    )
  // It may be gone although nobody heard of it: from here on it is mended in any case.
  await removeTopics(kafka, [topic]).catch(() => undefined)
  await eventually(isGone).catch(() => undefined)
  return async () => {
    await command(
      stage,
      ['topics', '--partitions', String(partitions)],
      `has ${String(partitions)} partitions`,
    )
    await command(stage, ['outbox', 'republish'], 'will be published')
    notes.push({ kind: 'made again', step, untilSeq: await readLastSeq(db) })
  }
}

async function command(
  { databaseUrl, kafkaBrokers }: Stage,
  args: string[],
  expected: string,
): Promise<void> {
  const settings = {
    CATALOG_DATABASE_URL: databaseUrl,
    METRICS_DATABASE_URL: databaseUrl,
    KAFKA_BROKERS: kafkaBrokers,
  }
  const said = await likewise(settings, ...args)
  if (!said.includes(expected)) throw new Error(`likewise ${args.join(' ')}: ${said.trim()}`)
}

/** What the consumer has committed by now has drawn no greater number. */
async function readStep(db: Database): Promise<number> {
  const [row] = await db.query<{ step: bigint }>(sql`select last_value as step from faults.step`)
  return Number(row?.step)
}

/** Events that come from now on draw a greater one. */
async function readLastSeq(db: Database): Promise<number> {
  const [row] = await db.query<{ seq: bigint }>(sql`
    select pg_sequence_last_value(pg_get_serial_sequence('catalog.outbox_events', 'seq')::regclass) as seq`)
  return Number(row?.seq)
}
