import { sendLike } from '../likes.ts'
import { startBeforeProgram } from './before-program.ts'
import type { DemoContext } from './context.ts'
import { readLikeCount } from './like-count.ts'
import { withReleases } from './releases.ts'
import type { StoryResult } from './story.ts'
import { lastRead } from './wait.ts'

const title = 'Scale-out: two servers, one count'
const likes = 10

/** Likes in turn over two instances: how many does a reader see? */
export async function scaleOut(context: DemoContext): Promise<StoryResult> {
  const { likeApis, metricsApi, narrate, signal } = context
  narrate.open(
    title,
    `${likes} people like a product, and a load balancer spreads them over two servers. Before: each server tells ` +
      'its listeners over an event bus inside its own process. After: the like and its event are one transaction, ' +
      'and the event reaches the one count through Kafka.',
  )
  const [first, second] = likeApis
  if (second === undefined) {
    return { kind: 'skipped', title, why: 'only one like-api runs here (npm start -- --like-apis 2).' }
  }

  return withReleases(async (defer) => {
    const [productId, before] = [context.newProductId(), await startTwice(context, 'in-process-bus')]
    defer(before.stop)
    const [takenBefore, takenAfter] = [
      await likeInTurn(before.urls, productId),
      await likeInTurn([first, second], productId),
    ]
    const seenBefore = await Promise.all(before.urls.map((url) => readLikeCount(url, productId)))
    const seenAfter = await lastRead(
      () => readLikeCount(metricsApi, productId),
      (count) => count >= likes,
      { withinMs: 20_000, signal },
    )
    const holds =
      takenBefore === likes &&
      seenBefore.every((count) => count === likes / 2) &&
      takenAfter === likes &&
      seenAfter === likes
    const [one = 0, other = 0] = seenBefore
    return {
      kind: 'told',
      title,
      table: {
        head: ['', 'before: in-process bus', 'after: outbox and Kafka'],
        rows: [
          ['likes answered 2xx', `${takenBefore} of ${likes}`, `${takenAfter} of ${likes}`],
          ['count that a reader sees', `${one} here, ${other} there`, String(seenAfter)],
        ],
      },
      holds,
      verdict: holds
        ? `All ${likes} likes are counted, whichever server took them; the bus shows a reader ${one}.`
        : `Expected ${likes} after and ${likes / 2} before; see the table.`,
    }
  })
}

async function startTwice(context: DemoContext, name: string) {
  const results = await Promise.allSettled([
    startBeforeProgram(context, name),
    startBeforeProgram(context, name),
  ])
  const programs = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const stop = () => Promise.all(programs.map((program) => program.stop()))
  const failed = results.find((result) => result.status === 'rejected')
  if (failed) {
    await stop()
    throw failed.reason
  }
  return { urls: programs.map(({ url }) => url), stop }
}

/** @returns how many were answered 2xx. */
async function likeInTurn(apis: readonly string[], productId: number): Promise<number> {
  let taken = 0
  for (let i = 0; i < likes; i += 1) {
    const { status = 0 } = await sendLike(apis[i % apis.length] ?? '', i + 1, productId)
    if (status >= 200 && status < 300) taken += 1
  }
  return taken
}
