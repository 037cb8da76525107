import { Failure } from '@likewise/service'

/** What a reader sees: the like count that a metrics API, or a program of examples/before, answers. */
export async function readLikeCount(api: string, productId: number): Promise<number> {
  const response = await ask(`${api}/api/products/${productId}/metrics`)
  const { likeCount } = (await response.json()) as { likeCount: number }
  return likeCount
}

async function ask(url: string): Promise<Response> {
  let response: Response
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(10_000) })
  } catch (cause) {
    throw new Failure('DATABASE_UNAVAILABLE', `No answer from ${url}.`, { cause })
  }
  if (response.ok) return response
  throw new Failure('DATABASE_UNAVAILABLE', `${url} answers ${response.status}.`)
}
