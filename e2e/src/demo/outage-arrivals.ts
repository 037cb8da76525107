import { type IncomingBatch, removeGroups, subscribe } from '@likewise/kafka'
import { sendLike } from '../likes.ts'
import type { DemoContext } from './context.ts'
import { readLikeCount } from './like-count.ts'
import { type Lane, ghostUserId } from './outage-lane.ts'
import { lastRead } from './wait.ts'

export interface Arrived {
  /** Of the lane's likes. */
  readonly arrived: number
  /** Counted, or sent, more often than once. */
  readonly twice: number
  /** Events of the like that was rolled back. */
  readonly ghosts: number
}

// Kafka starts in 2 s and the consumers are back in their group within its session timeout; and a busy machine.
const withinMs = 60_000
const markerMs = 1_000

/** What reached the count in the end. The rolled-back like's product gets a like, to see that it is counted alone. */
export async function readCounted({ metricsApi, signal }: DemoContext, lane: Lane): Promise<Arrived> {
  await sendLike(lane.api, 1, lane.ghostProductId)
  const products = [...lane.likes.map(({ productId }) => productId), lane.ghostProductId]
  const counts = await lastRead(
    () => Promise.all(products.map((productId) => readLikeCount(metricsApi, productId))),
    (found) => found.every((count) => count >= 1),
    { withinMs, signal },
  )
  const ofLikes = counts.slice(0, -1)
  return {
    arrived: ofLikes.filter((count) => count >= 1).length,
    twice: ofLikes.filter((count) => count > 1).length,
    ghosts: Math.max(0, (counts.at(-1) ?? 0) - 1),
  }
}

/**
 * What is on a program's topic in the end. New likes are sent until the event of one arrives: whatever lay before it
 * has arrived by then, or never will.
 */
export async function readSent({ kafka, signal }: DemoContext, lane: Lane): Promise<Arrived> {
  const topic = lane.topic ?? ''
  const groupId = `${topic}-reader`
  const seen: { userId: number; productId: number }[] = []
  let broken: Error | undefined
  const subscriber = subscribe({
    ...kafka,
    groupId,
    topic,
    partitionsAtOnceMax: 1,
    onBatch: async ({ records }: IncomingBatch) => {
      for (const { value } of records) seen.push(JSON.parse(String(value)) as (typeof seen)[number])
    },
    fail: (error) => (broken = error as Error),
  })
  const isOf = (product: number, user: number) =>
    seen.filter((e) => e.productId === product && e.userId === user)
  const markers = () => seen.filter((e) => e.productId === lane.ghostProductId && e.userId !== ghostUserId)
  try {
    const deadlineMs = performance.now() + withinMs
    for (let userId = 1; markers().length === 0 && performance.now() < deadlineMs; userId += 1) {
      signal.throwIfAborted()
      if (broken !== undefined) throw broken
      await sendLike(lane.api, userId, lane.ghostProductId)
      await lastRead(
        async () => markers().length,
        (count) => count > 0,
        { withinMs: markerMs, signal },
      )
    }
  } finally {
    await subscriber.stop()
    await removeGroups(kafka, [groupId])
  }
  const times = lane.likes.map(({ userId, productId }) => isOf(productId, userId).length)
  return {
    arrived: times.filter((count) => count >= 1).length,
    twice: times.filter((count) => count > 1).length,
    ghosts: isOf(lane.ghostProductId, ghostUserId).length,
  }
}
