import { Agent, request } from 'node:http'
import { pause } from '@likewise/service'

export interface Likes {
  /** Likes at a fixed rate, whatever the answers do (an open loop). @returns when each was answered, by product. */
  send(options: {
    perSecond: number
    products: readonly number[]
    stopping: AbortSignal
  }): Promise<Map<number, Answer>>
  close(): void
}

export interface Answer {
  /** Process time of the answer, and how long it took from when the like was due. */
  readonly atMs: number
  readonly tookMs: number
}

const requestLimitMs = 10_000

/** A client of several like-apis in turn. Not fetch: at 200 likes/s its CPU time would show in what is measured. */
export function connectLikes(urls: readonly string[]): Likes {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  return {
    async send({ perSecond, products, stopping }) {
      const answers = new Map<number, Answer>()
      const begunMs = performance.now()
      const sent: Promise<void>[] = []
      for (const [i, productId] of products.entries()) {
        const dueMs = begunMs + (i * 1000) / perSecond
        await pause(Math.max(0, dueMs - performance.now()), stopping)
        stopping.throwIfAborted()
        const like = post(agent, `${urls[i % urls.length] ?? ''}/api/likes`, { userId: 1, productId })
        const answered = like.then(() => {
          const atMs = performance.now()
          answers.set(productId, { atMs, tookMs: atMs - dueMs })
        })
        answered.catch(() => undefined) // thrown below, when all have been sent
        sent.push(answered)
      }
      await Promise.all(sent)
      return answers
    },
    close: () => {
      agent.destroy()
    },
  }
}

function post(agent: Agent, url: string, like: { userId: number; productId: number }): Promise<void> {
  const body = JSON.stringify(like)
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const call = request(url, { agent, method: 'POST', headers, timeout: requestLimitMs }, (response) => {
      response.resume()
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode === 201) resolve()
        else reject(new Error(`A like was answered ${String(response.statusCode)}.`))
      })
    })
    call.on('timeout', () =>
      call.destroy(new Error(`A like was not answered within ${String(requestLimitMs)} ms.`)),
    )
    call.on('error', reject)
    call.end(body)
  })
}
