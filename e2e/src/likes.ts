import { type LikeApi, connectLikeApi } from '@likewise/client'

/** What a client knows about one request: only a 2xx counts as a promise. */
export interface Answer {
  userId: number
  productId: number
  liked: boolean
  /** Absent when there was no answer. */
  status?: number
  /** Nobody listens there: the request was not even sent. */
  unsent?: boolean
  changed?: boolean
}

/** The typed client: a route, a field or a status that the documents do not know does not compile here. */
export async function sendLike(api: string, userId: number, productId: number): Promise<Answer> {
  return answerOf({ userId, productId, liked: true }, () =>
    clientOf(api).POST('/api/likes', { body: { userId, productId }, signal: AbortSignal.timeout(10_000) }),
  )
}

export async function sendUnlike(api: string, userId: number, productId: number): Promise<Answer> {
  return answerOf({ userId, productId, liked: false }, () =>
    clientOf(api).DELETE('/api/products/{productId}/likes/{userId}', {
      params: { path: { productId, userId } },
      signal: AbortSignal.timeout(10_000),
    }),
  )
}

const clients = new Map<string, LikeApi>()

function clientOf(api: string): LikeApi {
  const client = clients.get(api) ?? connectLikeApi(api)
  clients.set(api, client)
  return client
}

type Answered = { data?: { changed: boolean }; response: Response }

async function answerOf(asked: Answer, ask: () => Promise<Answered>): Promise<Answer> {
  try {
    const { data, response } = await ask()
    return { ...asked, status: response.status, ...(data ? { changed: data.changed } : {}) }
  } catch (error) {
    return isUnsent(error) ? { ...asked, unsent: true } : asked // the connection broke: the client does not know
  }
}

const isUnsent = (error: unknown): boolean =>
  error instanceof Error &&
  error.cause instanceof Error &&
  'code' in error.cause &&
  error.cause.code === 'ECONNREFUSED'

/** Runs `count` jobs, at most `atOnce` at a time, in order of their number. */
export async function spread(
  count: number,
  atOnce: number,
  job: (i: number) => Promise<void>,
): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < count) await job(next++)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}
