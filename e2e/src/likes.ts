/** What a client knows about one request: only a 2xx counts as a promise. */
export interface Answer {
  userId: number
  productId: number
  liked: boolean
  /** Absent when there was no answer. */
  status?: number
  changed?: boolean
}

export async function sendLike(api: string, userId: number, productId: number): Promise<Answer> {
  return answerOf({ userId, productId, liked: true }, () =>
    fetch(`${api}/api/likes`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ userId, productId }),
      signal: AbortSignal.timeout(10_000),
    }),
  )
}

export async function sendUnlike(api: string, userId: number, productId: number): Promise<Answer> {
  return answerOf({ userId, productId, liked: false }, () =>
    fetch(`${api}/api/products/${productId}/likes/${userId}`, {
      method: 'DELETE',
      signal: AbortSignal.timeout(10_000),
    }),
  )
}

async function answerOf(asked: Answer, ask: () => Promise<Response>): Promise<Answer> {
  try {
    const response = await ask()
    const body = (await response.json()) as { changed?: boolean }
    return {
      ...asked,
      status: response.status,
      ...(body.changed === undefined ? {} : { changed: body.changed }),
    }
  } catch {
    return asked // the connection broke: the client does not know
  }
}

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
