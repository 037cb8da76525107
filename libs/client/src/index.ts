import createClient, { type Client } from 'openapi-fetch'
import type { paths as LikePaths } from './generated/like-api.ts'
import type { paths as MetricsPaths } from './generated/metrics-api.ts'

export type LikeApi = Client<LikePaths>
export type MetricsApi = Client<MetricsPaths>

/** What fetch is told with every request, for example headers. */
export interface ClientOptions {
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * like-api with the types of its OpenAPI document (docs/openapi/like-api.json): `await api.POST('/api/likes', { body })`
 * resolves to `data` or to the problem that it is refused with, as `error`, and to the `response`. Rejects where there is
 * no answer: the client then does not know what became of its request, and may send it again.
 */
export function connectLikeApi(url: string, options: ClientOptions = {}): LikeApi {
  return createClient<LikePaths>({ baseUrl: url, ...options })
}

/** metrics-api, likewise (docs/openapi/metrics-api.json). A stream is read with EventSource. */
export function connectMetricsApi(url: string, options: ClientOptions = {}): MetricsApi {
  return createClient<MetricsPaths>({
    baseUrl: url,
    querySerializer: { array: { style: 'form', explode: false } },
    ...options,
  })
}
