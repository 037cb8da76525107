import type { FastifyInstance, FastifySchema } from 'fastify'

export interface ApiRoute {
  readonly method: string
  readonly url: string
  readonly schema: FastifySchema
}

export type Endpoint = { method: string; path: string; description: string }

/** What a service serves, as it is added: what the index, the documents and the answer to a wrong method tell of. */
export interface HttpRoutes {
  /** Those under /api/, in their order, without the HEAD that comes with a GET. */
  api(): readonly ApiRoute[]
  endpoints(): Endpoint[]
  /** The methods that a path takes; none where it is no path of this service. */
  allowed(path: string): string[]
}

/** Comes before the first route. */
export function noteRoutes(app: FastifyInstance): HttpRoutes {
  const all: ApiRoute[] = []
  app.addHook('onRoute', ({ method, url, schema }) => {
    for (const one of [method].flat()) all.push({ method: one, url, schema: schema ?? {} })
  })
  const api = () => all.filter(({ method, url }) => url.startsWith('/api/') && method !== 'HEAD')
  return {
    api,
    endpoints: () =>
      api().map(({ method, url, schema }) => ({
        method,
        path: pathOf(url),
        description: schema.summary ?? '',
      })),
    allowed(path) {
      const methods = new Set(all.filter(({ url }) => isOf(path, url)).map(({ method }) => method))
      // What a plugin has for every path (`*`) says nothing of this one.
      return methods.size === 0 ? [] : [...methods.add('OPTIONS')].sort()
    },
  }
}

/** `/products/:id` as the documents write it: `/products/{id}`. */
export const pathOf = (url: string): string => url.replaceAll(/:(\w+)/g, '{$1}')

function isOf(path: string, url: string): boolean {
  const [asked, own] = [path.split('/'), url.split('/')]
  return asked.length === own.length && own.every((part, i) => part.startsWith(':') ? asked[i] !== '' : part === asked[i]) // prettier-ignore
}
