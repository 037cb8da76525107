import { type MetricsApi, connectMetricsApi } from '@likewise/client'
import { Failure } from '@likewise/service'

/** What a reader sees: the like count that a metrics API, or a program of examples/before, answers. */
export async function readLikeCount(api: string, productId: number): Promise<number> {
  const { data, response } = await ask(api, productId)
  if (data) return data.likeCount
  throw new Failure('DATABASE_UNAVAILABLE', `${response.url} answers ${response.status}.`)
}

type Answer = Awaited<ReturnType<typeof read>>

async function ask(api: string, productId: number): Promise<Answer> {
  try {
    return await read(connectMetricsApi(api), productId)
  } catch (cause) {
    throw new Failure('DATABASE_UNAVAILABLE', `No answer from ${api}.`, { cause })
  }
}

const read = (api: MetricsApi, productId: number) =>
  api.GET('/api/products/{productId}/metrics', {
    params: { path: { productId } },
    signal: AbortSignal.timeout(10_000),
  })
