import { STATUS_CODES } from 'node:http'
import type { FastifySchema } from 'fastify'
import type { TSchema } from 'typebox'
import { Failure, type FailureCode } from './failure.ts'
import { type Problem, toProblem } from './http-problem.ts'
import { type ApiRoute, pathOf } from './http-routes.ts'

/** What a route says of itself in its schema besides what is validated; the document is made of both. */
declare module 'fastify' {
  interface FastifySchema {
    /** The name of the call in clients: permanent. */
    operationId?: string
    /** A line without a full stop. */
    summary?: string
    description?: string
    tags?: readonly string[]
    /** Failures that only this route answers with; what every route may answer is known (see `codesOf`). */
    failures?: readonly FailureCode[]
    /** Headers that are read and not validated, by name. */
    requestHeaders?: Readonly<Record<string, TSchema>>
  }
}

export interface ApiInfo {
  readonly title: string
  readonly version: string
  readonly description: string
  readonly tags: readonly { readonly name: string; readonly description: string }[]
  /** Failures that each of its routes may answer with, besides those that any service has. */
  readonly failures?: readonly FailureCode[]
  /** Callers may have to say who they are, by a bearer token. */
  readonly takesTokens?: boolean
}

/** JSON Schema as TypeBox makes it. It is OpenAPI 3.1's own dialect, so schemas go into the document as they are. */
type Schema = {
  type?: unknown
  description?: string
  examples?: unknown[]
  default?: unknown
  properties?: Record<string, Schema>
  required?: string[]
  headers?: Record<string, Schema>
  content?: Record<string, { schema: Schema }>
}

const problemSchema = {
  type: 'object',
  description: 'What went wrong (RFC 9457).',
  required: ['type', 'title', 'status', 'detail'],
  properties: {
    type: { type: 'string', format: 'uri', description: 'Permanent: decide by it.' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'For people; may change.' },
    instance: { type: 'string', format: 'uri', description: "Of a 5xx: the request's id in the log." },
    errors: {
      type: 'array',
      description: 'Where the fault lies, one entry per field.',
      items: {
        type: 'object',
        required: ['field', 'message'],
        properties: { field: { type: 'string' }, message: { type: 'string' } },
      },
    },
  },
}

/** The OpenAPI 3.1 document of the routes, in their order. Pure, so that what is served and what is checked in are one. */
export function openApiOf(info: ApiInfo, routes: readonly ApiRoute[]): Record<string, unknown> {
  const { tags, failures = [], takesTokens = false, ...about } = info
  const paths: Record<string, Record<string, unknown>> = {}
  for (const route of routes) {
    const path = pathOf(route.url)
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route, failures) }
  }
  return {
    openapi: '3.1.1',
    info: { ...about, license: { name: 'MIT', identifier: 'MIT' } },
    servers: [{ url: '/', description: 'The server that serves this document.' }],
    tags,
    paths,
    ...(takesTokens ? { security: [{}, { bearer: [] }] } : {}),
    components: {
      schemas: { Problem: problemSchema },
      ...(takesTokens ? { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } } : {}),
    },
  }
}

function operationOf(
  { method, url, schema }: ApiRoute,
  failuresOfAll: readonly FailureCode[],
): Record<string, unknown> {
  const { operationId, summary, description, tags, body } = schema
  const parameters = [
    ...parametersOf('path', schema.params),
    ...parametersOf('query', schema.querystring),
    ...parametersOf('header', schema.headers),
    ...parametersOf('header', { properties: schema.requestHeaders }),
  ]
  return plain({
    operationId: operationId ?? nameOf(method, url),
    summary,
    description,
    tags,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body === undefined ? {} : { requestBody: { required: true, content: mediaOf(body as Schema) } }),
    responses: {
      ...Object.fromEntries(
        Object.entries((schema.response ?? {}) as Record<string, Schema>).map(([status, answer]) => [
          status,
          answerOf(status, answer),
        ]),
      ),
      ...problemsOf(codesOf(method, schema, failuresOfAll)),
    },
  })
}

const nameOf = (method: string, url: string): string =>
  method.toLowerCase() + url.replaceAll(/[/:]+(\w)/g, (_, letter: string) => letter.toUpperCase())

function parametersOf(place: 'path' | 'query' | 'header', schema: unknown): Record<string, unknown>[] {
  const { properties = {}, required = [] } = (schema ?? {}) as Schema
  return Object.entries(properties).map(([name, { description, examples, ...rest }]) => ({
    name,
    in: place,
    // What has a default may be left out, whatever the schema of what is read then says.
    required: place === 'path' || (required.includes(name) && rest.default === undefined),
    description,
    schema: rest,
    // As http-params.ts reads it.
    ...(rest.type === 'array' ? { style: 'form', explode: false } : {}),
    ...(examples === undefined ? {} : { example: examples[0] }),
  }))
}

const mediaOf = ({ examples, ...schema }: Schema) => ({
  'application/json': { schema, ...(examples === undefined ? {} : { example: examples[0] }) },
})

function answerOf(status: string, { headers, content, ...schema }: Schema): Record<string, unknown> {
  return {
    description: schema.description ?? STATUS_CODES[status],
    ...(headers === undefined ? {} : { headers: headersOf(headers) }),
    ...(content === undefined ? (schema.type === 'null' ? {} : { content: mediaOf(schema) }) : { content }),
  }
}

const headersOf = (headers: Record<string, Schema>) =>
  Object.fromEntries(
    Object.entries(headers).map(([name, { description, ...schema }]) => [name, { description, schema }]),
  )

/** A problem that a route may answer with, by what is thrown for it. */
type Thrown = { name: string; error: unknown }

const thrownOf = (code: FailureCode, sentence = 'What is wrong, in a sentence.', field?: string): Thrown => ({
  name: code,
  error: new Failure(
    code,
    sentence,
    field === undefined ? {} : { details: { errors: [{ field, message: 'must be >= 1' }] } },
  ),
})

/** In Fastify's words what no Failure stands for. */
const ofEveryRoute: readonly Thrown[] = [
  { name: 'INTERNAL_ERROR', error: new Error('a bug') },
  thrownOf('DATABASE_UNAVAILABLE'),
  thrownOf('DATABASE_BUSY'),
  { name: 'TIMED_OUT', error: Object.assign(new Error('late'), { code: 'FST_ERR_HANDLER_TIMEOUT' }) },
]

/** Every failure that a route may answer with: its own, and what follows from its having parameters or a body. */
function codesOf(
  method: string,
  { params, querystring, headers, body, failures = [] }: FastifySchema,
  failuresOfAll: readonly FailureCode[],
): Thrown[] {
  const hasParameters = [params, querystring, headers].some((schema) => schema !== undefined)
  const takesBody = !['GET', 'HEAD'].includes(method)
  return [
    ...(hasParameters ? [thrownOf('PARAMS_INVALID', 'productId must be >= 1.', 'productId')] : []),
    ...(body === undefined ? [] : [thrownOf('BODY_INVALID', 'userId must be >= 1.', 'userId')]),
    // Such an id is another path.
    ...(params === undefined ? [] : [thrownOf('NOT_FOUND', `There is no ${method} of that here.`)]),
    ...(takesBody ? [thrownOf('BODY_TOO_LARGE'), thrownOf('MEDIA_TYPE_UNSUPPORTED')] : []),
    ...[...new Set([...failures, ...failuresOfAll])].map((code) => thrownOf(code)),
    ...ofEveryRoute,
  ]
}

/** Problems by status, each with an example that is made as the answer itself is. */
function problemsOf(thrown: readonly Thrown[]): Record<string, unknown> {
  const byStatus = new Map<number, { name: string; problem: Problem }[]>()
  for (const { name, error } of thrown) {
    const problem = toProblem(error)
    byStatus.set(problem.status, [...(byStatus.get(problem.status) ?? []), { name, problem }])
  }
  return Object.fromEntries(
    [...byStatus].map(([status, all]) => [
      status,
      {
        description: all.map(({ problem }) => problem.title).join(' · '),
        ...(isLater(status) ? { headers: { 'retry-after': retryAfter } } : {}),
        ...(status === 401 ? { headers: { 'www-authenticate': wwwAuthenticate } } : {}),
        content: {
          'application/problem+json': {
            schema: {
              allOf: [
                { $ref: '#/components/schemas/Problem' },
                {
                  type: 'object',
                  properties: {
                    status: { const: status },
                    type: { enum: [...new Set(all.map(({ problem }) => problem.type))] },
                  },
                },
              ],
            },
            examples: Object.fromEntries(all.map(({ name, problem }) => [name, { value: problem }])),
          },
        },
      },
    ]),
  )
}

const isLater = (status: number): boolean => status === 503 || status === 429
const retryAfter = {
  description: 'Seconds to wait before the request is sent again.',
  schema: { type: 'integer', minimum: 0 },
}
const wwwAuthenticate = { description: 'How to say who asks (RFC 6750).', schema: { type: 'string' } }

/** Without what TypeBox keeps for itself, and without what is undefined. */
const plain = (value: Record<string, unknown>): Record<string, unknown> =>
  JSON.parse(JSON.stringify(value)) as Record<string, unknown>
