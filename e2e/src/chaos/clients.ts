import { pause } from '@likewise/service'
import type { Request } from '../checker/history.ts'
import { type Answer, sendLike, sendUnlike } from '../likes.ts'
import type { Random } from './plan.ts'

export interface Clients {
  /** Likes a product that nobody else likes, until it is answered 2xx. */
  canary(productId: number, stopping: AbortSignal): Promise<void>
  /** So many were answered by now. */
  count(): number
  /** @returns what was asked and answered. */
  stop(): Promise<Request[]>
}

const userMax = 2_000
const productMax = 40
const restMs = 20

/** Clients that like and unlike, one request at a time each, whatever becomes of it; a few products have most of them. */
export function startClients(apis: readonly string[], random: Random, count: number): Clients {
  const stopping = new AbortController()
  const requests: Request[] = []

  async function ask(wish: Wish, api: string): Promise<Request> {
    const request = await askOnce(wish, api)
    requests.push(request)
    return request
  }
  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      const wish = {
        userId: random.below(userMax) + 1,
        productId: skewed(random),
        liked: random.below(4) > 0,
      }
      const { answer } = await ask(wish, random.pick(apis))
      if (answer !== 'done') await pause(restMs, stopping.signal)
    }
  }
  const running = Array.from({ length: count }, run)
  return {
    count: () => requests.length,
    async canary(productId, given) {
      for (let i = 0; !given.aborted; i += 1) {
        const api = apis[i % apis.length] ?? ''
        if ((await ask({ userId: 1, productId, liked: true }, api)).answer === 'done') return
        await pause(restMs, given)
      }
    },
    async stop() {
      stopping.abort()
      await Promise.all(running)
      return requests
    },
  }
}

type Wish = Pick<Request, 'userId' | 'productId' | 'liked'>

/** One request, and what the client knows of it. */
export async function askOnce(wish: Wish, api: string): Promise<Request> {
  const { userId, productId, liked } = wish
  const beganMs = performance.now()
  const answer = await (liked ? sendLike : sendUnlike)(api, userId, productId)
  return { ...wish, beganMs, ...toldBy(answer, performance.now()) }
}

/** A quarter of all requests is about one product, and so on. */
function skewed(random: Random): number {
  let product = 1
  while (product < productMax && random.below(4) > 0) product += 1
  return product
}

/** A 5xx may have happened, or happen later; what is refused for its form has not. */
function toldBy(
  { status, changed, unsent }: Answer,
  endedMs: number,
): Pick<Request, 'answer' | 'changed' | 'endedMs'> {
  if (unsent) return { answer: 'refused', endedMs }
  if (status === undefined || status >= 500) return { answer: 'unknown' }
  if (status >= 400) return { answer: 'refused', endedMs }
  return { answer: 'done', endedMs, changed: changed === true }
}
