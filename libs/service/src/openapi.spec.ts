import { dirname } from 'node:path'
import { createRequire } from 'node:module'
import { afterEach, describe, expect, it } from '@jest/globals'
import { Type } from 'typebox'
import { type Http, buildHttp } from './http.ts'
import type { ApiDocs } from './http-docs.ts'
import { buildLogger } from './logger.ts'
import { buildTelemetry } from './telemetry.ts'

const apps: Http[] = []
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()))
})

function build(docs: Partial<ApiDocs> = {}): Http {
  const app = buildHttp({
    log: buildLogger({ service: 'test', level: 'silent' }),
    telemetry: buildTelemetry('test'),
    service: 'test',
    version: '1.2.3',
    ready: async () => ({ database: true }),
    docs: {
      title: 'Shop',
      description: 'Sells.',
      tags: [{ name: 'orders', description: 'What is bought.' }],
      uiFolder: dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json')),
      ...docs,
    },
  })
  apps.push(app)
  const Id = Type.Integer({ minimum: 1, description: 'Its number.', examples: [7] })
  app.get(
    '/api/orders/:orderId',
    {
      schema: {
        operationId: 'readOrder',
        summary: 'An order',
        params: Type.Object({ orderId: Id }),
        querystring: Type.Object({
          step: Type.String({ default: 'h' }),
          fields: Type.Optional(Type.Array(Type.Integer())),
        }),
        failures: ['CONFLICT'],
        requestHeaders: { 'if-none-match': Type.String({ description: 'An etag.' }) },
        response: {
          200: Type.Object(
            { orderId: Id },
            { description: 'The order.', headers: { etag: Type.String({ description: 'Its version.' }) } },
          ),
        },
      },
    },
    async (request) => request.params,
  )
  app.post('/api/orders', { schema: { body: Type.Object({ orderId: Id }) } }, async (request) => request.body)
  return app
}

interface Document {
  openapi: string
  info: Record<string, unknown>
  paths: Record<string, Record<string, Record<string, unknown> & { responses: Record<string, Answer> }>>
}
interface Answer {
  description: string
  headers?: Record<string, unknown>
  content: Record<string, { schema: unknown; examples: Record<string, { value: unknown }> }>
}

async function documentOf(app: Http): Promise<Document> {
  return (await app.inject('/openapi.json')).json()
}

describe('the OpenAPI document of a service', () => {
  it('tells every route under /api/ by the schemas that requests are validated with, and none of the others', async () => {
    const { openapi, info, paths } = await documentOf(build())
    expect([openapi, info]).toMatchObject(['3.1.1', { title: 'Shop', version: '1.2.3' }])
    expect(Object.entries(paths).map(([path, of]) => [path, Object.keys(of)])).toEqual([
      ['/api/orders/{orderId}', ['get']],
      ['/api/orders', ['post']],
    ])
    expect(paths['/api/orders/{orderId}']?.['get']).toMatchObject({
      operationId: 'readOrder',
      summary: 'An order',
      parameters: [
        { name: 'orderId', in: 'path', required: true, example: 7, schema: { type: 'integer', minimum: 1 } },
        { name: 'step', in: 'query', required: false },
        { name: 'fields', in: 'query', required: false, style: 'form', explode: false },
        { name: 'if-none-match', in: 'header', required: false },
      ],
      responses: { 200: { description: 'The order.', headers: { etag: { description: 'Its version.' } } } },
    })
    expect(paths['/api/orders']?.['post']).toMatchObject({ operationId: 'postApiOrders' })
  })

  it('tells what may go wrong with a route: by its parameters, its body, its own failures, and anywhere', async () => {
    const { paths } = await documentOf(build())
    const get = paths['/api/orders/{orderId}']!['get']!.responses
    const post = paths['/api/orders']!['post']!.responses
    expect([Object.keys(get), Object.keys(post)]).toEqual([
      ['200', '400', '404', '409', '500', '503'],
      ['400', '413', '415', '500', '503'],
    ])
    expect(Object.keys(get['503']!.headers ?? {})).toEqual(['retry-after'])
    expect(get['400']!.headers).toBeUndefined()
  })

  it('tells of each route what any route of its service may answer with, and that callers may have to say who they are', async () => {
    const document = await documentOf(build({ failures: ['CONFLICT', 'OVERLOADED'], takesTokens: true }))
    const { responses } = document.paths['/api/orders']!['post']!
    expect(Object.keys(responses)).toContain('409')
    expect(Object.keys(responses['503']!.content['application/problem+json']!.examples)).toContain(
      'OVERLOADED',
    )
    expect(document).toMatchObject({
      security: [{}, { bearer: [] }],
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    })
  })

  it('shows problems as they are really answered', async () => {
    const app = build()
    const { paths } = await documentOf(app)
    const refused = await app.inject('/api/orders/0')
    const { content } = paths['/api/orders/{orderId}']!['get']!.responses['400']!
    const shown = content['application/problem+json']!.examples['PARAMS_INVALID']!.value
    expect(Object.keys(shown as object)).toEqual(Object.keys(refused.json<object>()))
    expect(shown).toMatchObject({ type: refused.json<{ type: string }>().type, status: 400 })
  })
})

describe('the documentation of a service in the browser', () => {
  it('loads nothing from outside, and may not', async () => {
    const app = build()
    const page = await app.inject('/docs')
    expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self';/)
    const links = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link = '']) => link)
    expect(links.length).toBeGreaterThan(2)
    for (const link of links) {
      expect(link).not.toMatch(/^(?:\w+:|\/)/)
      const asset = await app.inject(`/${link}`)
      expect([link, asset.statusCode]).toEqual([link, 200])
      expect(asset.rawPayload.length).toBeGreaterThan(50)
    }
  })

  it('is not there where a service has none', async () => {
    const app = buildHttp({
      log: buildLogger({ service: 'test', level: 'silent' }),
      telemetry: buildTelemetry('test'),
      service: 'test',
      version: '1.2.3',
      ready: async () => ({}),
    })
    apps.push(app)
    expect((await app.inject('/docs')).statusCode).toBe(404)
    expect((await app.inject('/openapi.json')).statusCode).toBe(404)
  })
})
