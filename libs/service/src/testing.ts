import { type Guard, defaultGuard } from './guard-config.ts'

/** Sheds nothing: whether a test's process is late says something about its machine. */
export const unhurriedGuard: Guard = { ...defaultGuard, eventLoopDelayMsMax: 0 }

/** What is used here of an OpenAPI document. */
interface Document {
  paths: Record<string, Record<string, Operation>>
}
interface Operation {
  operationId: string
  parameters?: {
    name: string
    in: string
    required: boolean
    example?: unknown
    schema: { examples?: unknown[] }
  }[]
  requestBody?: { content: Record<string, { example?: unknown }> }
  responses: Record<string, unknown>
}

export interface ExampleRequest {
  operationId: string
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  url: string
  payload?: object
  /** The statuses that the document knows. */
  documented: number[]
}

/** The request that each operation of a document shows, as somebody would paste it. */
export function exampleRequests(text: string): ExampleRequest[] {
  const { paths } = JSON.parse(text) as Document
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { operationId, parameters = [], requestBody, responses }]) => {
      const query = new URLSearchParams()
      let url = path
      for (const { name, in: place, required, example } of parameters) {
        if (place === 'path') url = url.replace(`{${name}}`, String(example))
        if (place === 'query' && (required || example !== undefined)) query.set(name, String(example))
      }
      const body = requestBody?.content['application/json']?.example
      return {
        operationId,
        method: method.toUpperCase() as ExampleRequest['method'],
        url: query.size > 0 ? `${url}?${query.toString()}` : url,
        ...(body === undefined ? {} : { payload: body as object }),
        documented: Object.keys(responses).map(Number),
      }
    }),
  )
}
