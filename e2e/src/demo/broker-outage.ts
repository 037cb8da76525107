import { shardOf } from '@likewise/events'
import { buildPublisher } from '@likewise/kafka'
import { startBeforeProgram } from './before-program.ts'
import type { DemoContext } from './context.ts'
import { type Arrived, readCounted, readSent } from './outage-arrivals.ts'
import { type Lane, type Taken, sendLikes, sendRolledBack } from './outage-lane.ts'
import { type WaitingEvent, hasFailed, readWaiting, tableOfWaiting } from './outage-outbox.ts'
import { withReleases } from './releases.ts'
import type { StoryResult } from './story.ts'
import { lastRead } from './wait.ts'

const title = 'Outage: Kafka goes away and comes back'
const likes = 5

/** Kafka is stopped while people like: who answers, what is saved, what arrives in the end? */
export async function brokerOutage(context: DemoContext): Promise<StoryResult> {
  const { stopKafka, narrate, signal } = context
  narrate.open(
    title,
    `Kafka is stopped, and ${likes} people like something. Before: the event is sent inside the transaction (no Kafka, ` +
      'no likes; and a rollback leaves a ghost), or after the commit (the like stays, its event is lost). After: the ' +
      'event waits in the outbox, written by the same transaction as its like.',
  )
  if ('whyNot' in stopKafka) return { kind: 'skipped', title, why: stopKafka.whyNot }

  return withReleases(async (defer) => {
    const lanes: Lane[] = []
    const products = productsOfShards(context)
    for (const name of ['send-inside-transaction', 'send-after-commit']) {
      const { url, topic, stop } = await startBeforeProgram(context, name)
      defer(stop)
      lanes.push({
        ...laneOf(context, products, url),
        table: `before.${name.replaceAll('-', '_')}_likes`,
        topic,
      })
    }
    lanes.push({ ...laneOf(context, products, context.likeApis[0]), table: 'catalog.likes' })
    for (const lane of lanes) await sendRolledBack(context, lane)
    signal.throwIfAborted()

    const bringBack = await stopKafka()
    defer(async () => {
      await bringBack()
      await kafkaAnswers(context) // the programs remove their topics next
    })
    narrate.step(`Kafka is stopped; ${likes} likes go to each of the three.`)
    const taken = await Promise.all(lanes.map((lane) => sendLikes(context, lane)))
    const waiting = await readWaiting(context, products)

    narrate.step('Kafka comes back; the relay and the consumers find it by themselves.')
    await bringBack()
    await kafkaAnswers(context, signal)
    const arrived = await Promise.all(
      lanes.map((lane) => (lane.topic === undefined ? readCounted : readSent)(context, lane)),
    )
    return resultOf({ taken, arrived, waiting })
  })
}

/** Products of different shards of the outbox, so that each shows its own attempts. */
function productsOfShards(context: DemoContext): number[] {
  const found = new Map<number, number>()
  while (found.size < likes) {
    const productId = context.newProductId()
    found.set(shardOf(String(productId)), productId)
  }
  return [...found.values()]
}

function laneOf(context: DemoContext, products: readonly number[], api: string) {
  return {
    api,
    likes: products.map((productId, i) => ({ userId: i + 1, productId })),
    ghostProductId: context.newProductId(),
  }
}

/** Waits until Kafka takes requests again. */
async function kafkaAnswers({ kafka }: DemoContext, signal?: AbortSignal): Promise<void> {
  const publisher = buildPublisher({ ...kafka, sendLimitMs: 3_000 })
  await lastRead(
    () => publisher.ping(),
    () => true,
    { withinMs: 60_000, ...(signal && { signal }) },
  )
}

function resultOf(facts: {
  taken: readonly Taken[]
  arrived: readonly Arrived[]
  waiting: readonly WaitingEvent[]
}): StoryResult {
  const { taken, arrived, waiting } = facts
  const row = <T>(what: string, of: readonly T[], show: (one: T) => string) => [what, ...of.map(show)]
  const holds = isAsTold(facts)
  return {
    kind: 'told',
    title,
    table: {
      head: ['', 'before: inside the transaction', 'before: after the commit', 'after: outbox'],
      rows: [
        row('answered 2xx', taken, (lane) => `${lane.taken} of ${likes}`),
        row('slowest answer', taken, ({ slowestMs }) => `${slowestMs.toFixed(0)} ms`),
        row('likes in the table', taken, ({ saved }) => String(saved)),
        row('events arrived', arrived, (lane) => String(lane.arrived)),
        row('arrived twice', arrived, ({ twice }) => String(twice)),
        row('ghosts of a rollback', arrived, ({ ghosts }) => String(ghosts)),
      ],
    },
    listing: { title: 'catalog.outbox_status while Kafka was down:', table: tableOfWaiting(waiting) },
    holds,
    verdict: holds
      ? `All ${likes} likes were taken while Kafka was down, waited in the outbox, and are counted once. Before, they ` +
        'were refused (and a ghost was sent), or saved and never counted.'
      : 'Not as expected; see the table.',
  }
}

function isAsTold({ taken, arrived, waiting }: Parameters<typeof resultOf>[0]): boolean {
  const of = (lane: number) => ({ ...taken[lane], ...arrived[lane] })
  const [inside, afterCommit, outbox] = [of(0), of(1), of(2)]
  return (
    outbox.taken === likes &&
    outbox.saved === likes &&
    outbox.arrived === likes &&
    outbox.twice === 0 &&
    outbox.ghosts === 0 &&
    waiting.length === likes &&
    waiting.every(hasFailed) &&
    inside.taken === 0 &&
    inside.ghosts === 1 &&
    afterCommit.saved === likes &&
    afterCommit.arrived === 0
  )
}
