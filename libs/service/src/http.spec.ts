import { connect } from 'node:net'
import { afterEach, describe, expect, it } from '@jest/globals'
import { Type } from 'typebox'
import { Failure } from './failure.ts'
import { buildHttp, listen } from './http.ts'
import type { Http, HttpLimits } from './http.ts'
import type { Ready } from './http-probes.ts'
import { buildLogger } from './logger.ts'
import { pause } from './pause.ts'
import { buildTelemetry } from './telemetry.ts'

const apps: Http[] = []
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()))
})

function build(options: { ready?: Ready; limits?: Partial<HttpLimits>; level?: string } = {}) {
  const lines: string[] = []
  const log = buildLogger(
    { service: 'like-api', level: options.level ?? 'info' },
    { write: (line) => void lines.push(line) },
  )
  const app = buildHttp({
    log,
    telemetry: buildTelemetry('like-api'),
    service: 'like-api',
    version: '1.2.3',
    ready: options.ready ?? (async () => ({ database: true })),
    ...(options.limits ? { limits: options.limits } : {}),
  })
  apps.push(app)
  return { app, lines }
}

const id = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })

function withLikes(options: Parameters<typeof build>[0] = {}) {
  const { app, lines } = build(options)
  const body = Type.Object(
    {
      userId: id,
      productId: id,
      kind: Type.Optional(Type.Union([Type.Literal('a'), Type.Literal('b')])),
      tags: Type.Optional(Type.Array(Type.Object({ name: Type.String() }))),
    },
    { additionalProperties: false },
  )
  app.post('/likes', { schema: { body } }, async (request) => request.body)
  const querystring = Type.Object({
    limit: Type.Optional(id),
    deep: Type.Optional(Type.Boolean()),
    share: Type.Optional(Type.Number()),
    since: Type.Optional(Type.Integer()),
  })
  app.get(
    '/products/:productId',
    { schema: { params: Type.Object({ productId: id }), querystring } },
    async (request) => ({
      params: request.params,
      query: request.query,
    }),
  )
  const post = (payload: string, contentType: string | undefined = 'application/json') =>
    app.inject({
      method: 'POST',
      url: '/likes',
      payload,
      headers: contentType ? { 'content-type': contentType } : {},
    })
  return { app, lines, post }
}

function throwing(error: unknown) {
  const { app, lines } = build()
  app.get('/thrown', { schema: { response: { 500: Type.Object({}), 503: Type.Object({}) } } }, async () => {
    throw error
  })
  return { get: () => app.inject('/thrown'), lines }
}

describe('a request body', () => {
  it('is taken as it was typed', async () => {
    const { post } = withLikes()
    const answer = await post('{"userId":1,"productId":100}')
    expect(answer.statusCode).toBe(200)
    expect(answer.json()).toEqual({ userId: 1, productId: 100 })
  })

  it.each([
    ['a missing field', '{"userId":1}', 'productId', 'is required'],
    ['a field nobody knows', '{"userId":1,"productId":2,"admin":true}', 'admin', 'is not known here'],
    ['text for a number', '{"userId":"1","productId":2}', 'userId', 'must be integer'],
    ['a fraction', '{"userId":1.5,"productId":2}', 'userId', 'must be integer'],
    ['null', '{"userId":null,"productId":2}', 'userId', 'must be integer'],
    ['zero', '{"userId":1,"productId":0}', 'productId', 'must be >= 1'],
    [
      'an id beyond 2^53−1',
      '{"userId":9007199254740993,"productId":2}',
      'userId',
      'must be <= 9007199254740991',
    ],
    ['none of the choices', '{"userId":1,"productId":2,"kind":"c"}', 'kind', 'must be one of a, b'],
    [
      'a gap deep inside',
      '{"userId":1,"productId":2,"tags":[{"name":"x"},{}]}',
      'tags.1.name',
      'is required',
    ],
    ['an array', '[]', 'body', 'must be object'],
    ['a bare null', 'null', 'body', 'must be object'],
  ])('with %s is refused with the name of the field', async (_what, payload, field, message) => {
    const answer = await withLikes().post(payload)
    expect(answer.statusCode).toBe(400)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(answer.json()).toEqual({
      type: 'urn:likewise:problem:body-invalid',
      title: 'Body invalid',
      status: 400,
      detail: `${field} ${message}.`,
      errors: [{ field, message }],
    })
  })

  it.each([
    ['broken JSON', '{"userId":', 'application/json', 400, 'body-invalid'],
    ['nothing in it', '', 'application/json', 400, 'body-invalid'],
    ['plain text', 'hello', 'text/plain', 415, 'media-type-unsupported'],
    ['a form', 'userId=1', 'application/x-www-form-urlencoded', 415, 'media-type-unsupported'],
    ['a content type that is none', '{}', 'nonsense', 415, 'media-type-unsupported'],
    ['a content type that only begins like JSON', '{}', 'application/jsonp', 415, 'media-type-unsupported'],
    [
      '17 KB',
      JSON.stringify({ userId: 1, pad: 'x'.repeat(17 * 1024) }),
      'application/json',
      413,
      'body-too-large',
    ],
  ])('with %s is refused, never a 500', async (_what, payload, contentType, status, type) => {
    const answer = await withLikes().post(payload, contentType)
    expect(answer.statusCode).toBe(status)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(answer.json()).toMatchObject({
      type: `urn:likewise:problem:${type}`,
      status,
      detail: expect.stringMatching(/\.$/),
    })
  })

  it.each(['{"__proto__":{"admin":true}}', '{"constructor":{"prototype":{"admin":true}}}'])(
    'that would poison prototypes (%s) is refused, even where any field is taken',
    async (payload) => {
      const { app } = build()
      app.post('/open', async (request) => request.body)
      const answer = await app.inject({
        method: 'POST',
        url: '/open',
        payload,
        headers: { 'content-type': 'application/json' },
      })
      expect(answer.statusCode).toBe(400)
      expect(answer.json()).toMatchObject({
        type: 'urn:likewise:problem:body-invalid',
        detail: 'The body is not valid JSON.',
      })
    },
  )

  it('without a content type is refused', async () => {
    const { app } = withLikes()
    const answer = await app.inject({ method: 'POST', url: '/likes', payload: Buffer.from('{"userId":1}') })
    expect(answer.statusCode).toBe(415)
  })
})

describe('path and query', () => {
  it('are read as the numbers and booleans the schema says', async () => {
    const answer = await withLikes().app.inject('/products/100?limit=5&deep=true&share=0.5')
    expect(answer.json()).toEqual({ params: { productId: 100 }, query: { limit: 5, deep: true, share: 0.5 } })
  })

  it.each([
    ['/products/1e3', 'productId'],
    ['/products/0x10', 'productId'],
    ['/products/%207', 'productId'],
    ['/products/007', 'productId'],
    ['/products/0', 'productId'],
    ['/products/9007199254740993', 'productId'],
    ['/products/1?limit=', 'limit'],
    ['/products/1?limit=1&limit=2', 'limit'],
    ['/products/1?deep=yes', 'deep'],
    ['/products/1?share=1e3', 'share'],
    ['/products/1?since=9007199254740993', 'since'],
  ])('%s is refused with the name of the field', async (url, field) => {
    const answer = await withLikes().app.inject(url)
    expect(answer.statusCode).toBe(400)
    expect(answer.json()).toMatchObject({ type: 'urn:likewise:problem:params-invalid', errors: [{ field }] })
  })

  it.each([
    ['/products/%zz', 400, 'params-invalid'],
    ['/products/%E0%A4%A', 400, 'params-invalid'],
    [`/products/${'1'.repeat(200)}`, 400, 'params-invalid'],
    ['/nowhere', 404, 'not-found'],
    ['/likes', 405, 'method-not-allowed'],
    ['/products/1/../../etc/passwd', 404, 'not-found'],
  ])('%s is a problem of its own, never a 500', async (url, status, type) => {
    const answer = await withLikes().app.inject(url)
    expect(answer.statusCode).toBe(status)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(answer.json()).toMatchObject({ type: `urn:likewise:problem:${type}`, status })
  })

  it('that do not know a method say so, and which they know, whatever the body (RFC 9110, 15.5.6)', async () => {
    const { app } = withLikes()
    for (const method of ['GET', 'DELETE', 'PATCH', 'TRACE', 'PROPFIND'] as const) {
      const answer = await app.inject({ method: method as 'GET', url: '/likes?x=1' })
      expect([answer.statusCode, answer.headers['allow']]).toEqual([405, 'OPTIONS, POST'])
      expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
      expect(answer.json()).toEqual({
        type: 'urn:likewise:problem:method-not-allowed',
        title: 'Method not allowed',
        status: 405,
        detail: `There is no ${method} /likes here; it takes OPTIONS, POST.`,
      })
    }
    for (const url of ['/products/100', '/livez']) {
      const answer = await app.inject({ method: 'POST', url, payload: 'x', headers: plain })
      expect([answer.statusCode, answer.headers['allow']]).toEqual([405, 'GET, HEAD, OPTIONS'])
    }
    const nowhere = await app.inject({ method: 'POST', url: '/nowhere', payload: 'x', headers: plain })
    expect([nowhere.statusCode, nowhere.headers['allow']]).toEqual([404, undefined])
  })

  it('answer HEAD as GET without the body, and OPTIONS with the methods there are', async () => {
    const { app } = withLikes()
    const head = await app.inject({ method: 'HEAD', url: '/products/100' })
    expect([head.statusCode, head.body]).toEqual([200, ''])
    expect((await app.inject({ method: 'HEAD', url: '/products/0' })).statusCode).toBe(400)
    const options = await app.inject({ method: 'OPTIONS', url: '/products/100' })
    expect([options.statusCode, options.headers['allow'], options.body]).toEqual([
      ...[204, 'GET, HEAD, OPTIONS', ''],
    ])
    expect((await app.inject({ method: 'OPTIONS', url: '/nowhere' })).statusCode).toBe(404)
    expect((await app.inject({ method: 'OPTIONS', url: '/products//' })).statusCode).toBe(404)
  })

  const plain = { 'content-type': 'text/plain' }
})

interface Told {
  level: string
  msg: string
  requests?: Record<string, number>
}

describe('what a handler throws', () => {
  it.each([
    new Error('canary: select * from likes'),
    new Failure('DATABASE_REFUSED', 'canary'),
    'canary',
    undefined,
    { canary: 1 },
  ])('is hidden from the client and logged (%s)', async (error) => {
    const { get, lines } = throwing(error)
    const answer = await get()
    expect(answer.statusCode).toBe(500)
    expect(answer.body).not.toContain('canary')
    expect(answer.json()).toMatchObject({
      type: 'urn:likewise:problem:internal-error',
      status: 500,
      instance: expect.stringMatching(/^urn:uuid:/),
    })
    expect(lines.map((line) => (JSON.parse(line) as { level: string }).level)).toContain('error')
  })

  it('is a 503 with Retry-After when it may work next time', async () => {
    const { get, lines } = throwing(new Failure('DATABASE_UNAVAILABLE', 'canary: 10.0.0.7 is gone'))
    const answer = await get()
    expect(answer.statusCode).toBe(503)
    expect(answer.headers['retry-after']).toBe('1')
    expect(answer.json()).toMatchObject({
      type: 'urn:likewise:problem:database-unavailable',
      title: 'Database unavailable',
    })
    expect(answer.body).not.toContain('canary')
    expect(lines.join('')).toContain('10.0.0.7 is gone')
  })

  it('is told once while it lasts: the first whole, the others as a number, and all of them by the metrics', async () => {
    const { app, lines } = build({ limits: { outageLogEveryMs: 50 } })
    const away = () => Promise.reject(new Failure('DATABASE_UNAVAILABLE', 'canary: 10.0.0.7 is gone'))
    app.get('/away', away)
    app.get('/busy', () => Promise.reject(new Failure('DATABASE_BUSY', 'canary: a lock')))
    const ask = (url: string, times: number) =>
      Promise.all(Array.from({ length: times }, () => app.inject(url)))
    const told = () => lines.map((line) => JSON.parse(line) as Told)
    const counted = (title: string) =>
      told().reduce((sum, { requests = {} }) => sum + (requests[title] ?? 0), 0)

    await ask('/away', 500)
    await ask('/busy', 20)
    for (let round = 0; round < 3; round += 1) {
      while (counted('Database unavailable') < 499 + round * 100) await pause(10)
      await ask('/away', 100)
    }
    expect(told().filter(({ msg }) => msg === 'request failed for now')).toMatchObject([
      { level: 'warn', err: { message: 'canary: 10.0.0.7 is gone' } },
      { level: 'warn', err: { message: 'canary: a lock' } },
    ])
    expect(told().length).toBeLessThan(12)
    const { body } = await app.inject('/metrics')
    for (const [route, count] of [
      ['/away', 800],
      ['/busy', 20],
    ] as const)
      expect(body).toContain(
        `likewise_http_request_duration_seconds_count{method="GET",route="${route}",status="503"} ${String(count)}\n`,
      )
    await app.close()
    expect([counted('Database unavailable'), counted('Database busy')]).toEqual([799, 19])
  })

  it('is told whole again when it comes back after a while', async () => {
    const { app, lines } = build({ limits: { outageLogEveryMs: 20 } })
    app.get('/away', () => Promise.reject(new Failure('DATABASE_UNAVAILABLE', 'gone')))
    const whole = () => lines.filter((line) => line.includes('"request failed for now"')).length
    await app.inject('/away')
    await app.inject('/away')
    expect(whole()).toBe(1)
    while (whole() === 1) {
      await pause(50)
      await app.inject('/away')
    }
    expect(whole()).toBe(2)
  })

  it('tells the client what it did wrong', async () => {
    const errors = [{ field: 'from', message: 'must be before to' }]
    const answer = await throwing(
      new Failure('PARAMS_INVALID', 'from must be before to.', { details: { errors } }),
    ).get()
    expect(answer.json()).toEqual({
      type: 'urn:likewise:problem:params-invalid',
      title: 'Parameters invalid',
      status: 400,
      detail: 'from must be before to.',
      errors,
    })
  })

  it('is a 503 when nothing comes in time', async () => {
    const { app } = build({ limits: { handlerTimeoutMs: 20 } })
    app.get('/slow', () => new Promise(() => {}))
    const answer = await app.inject('/slow')
    expect(answer.statusCode).toBe(503)
    expect(answer.headers['retry-after']).toBe('1')
    expect(answer.json()).toMatchObject({ type: 'urn:likewise:problem:timed-out' })
  })
})

describe('probes and index', () => {
  it('say that the process lives, is ready, and what it serves', async () => {
    const { app } = build()
    const schema = { summary: 'Like a product' }
    app.route({ method: ['GET', 'PUT'], url: '/api/likes/:userId', schema, handler: async () => ({}) })
    app.get('/api/plain', async () => ({}))
    expect((await app.inject('/livez')).json()).toEqual({ status: 'live' })
    const ready = await app.inject('/readyz')
    expect(ready.statusCode).toBe(200)
    expect(ready.json()).toEqual({ status: 'ready', checks: { database: 'ok' } })
    expect((await app.inject('/')).json()).toEqual({
      service: 'like-api',
      version: '1.2.3',
      endpoints: [
        { method: 'GET', path: '/api/likes/{userId}', description: 'Like a product' },
        { method: 'PUT', path: '/api/likes/{userId}', description: 'Like a product' },
        { method: 'GET', path: '/api/plain', description: '' },
      ],
    })
  })

  it('say which check fails and why', async () => {
    const { app } = build({ ready: async () => ({ database: 'PostgreSQL does not answer.', kafka: true }) })
    const answer = await app.inject('/readyz')
    expect(answer.statusCode).toBe(503)
    expect(answer.json()).toEqual({
      status: 'unready',
      checks: { database: 'PostgreSQL does not answer.', kafka: 'ok' },
    })
  })

  it('take a check that throws for a failed one, without its text', async () => {
    const { app } = build({ ready: () => Promise.reject(new Error('canary')) })
    const answer = await app.inject('/readyz')
    expect(answer.statusCode).toBe(503)
    expect(answer.body).not.toContain('canary')
  })

  it('take a hanging check for a failed one, and do not pile up more of them', async () => {
    let calls = 0
    let release: (checks: Record<string, true>) => void = () => {}
    const ready: Ready = () => {
      calls += 1
      return new Promise((resolve) => {
        release = resolve
      })
    }
    const { app } = build({ ready, limits: { readyTimeoutMs: 20 } })
    const answers = [await app.inject('/readyz'), await app.inject('/readyz')]
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([503, 503])
    expect(answers[0]?.json()).toMatchObject({ checks: { ready: 'The check did not answer within 20 ms.' } })
    expect(calls).toBe(1)
    release({ database: true })
    await new Promise(setImmediate)
    const again = app.inject('/readyz')
    await new Promise(setImmediate)
    release({ database: true })
    expect((await again).statusCode).toBe(200)
  })

  it('count requests by the pattern of their route, never by an id', async () => {
    const { app } = withLikes()
    const id = '7307399254740991' // no number of bytes or seconds
    await app.inject(`/products/${id}`)
    await app.inject(`/nowhere/${id}`)
    const answer = await app.inject('/metrics')
    expect(answer.headers['content-type']).toMatch(/^text\/plain/)
    expect(answer.body).toContain(
      'likewise_http_request_duration_seconds_count{method="GET",route="/products/:productId",status="200"} 1',
    )
    expect(answer.body).toContain(
      'likewise_http_request_duration_seconds_count{method="GET",route="unmatched",status="404"} 1',
    )
    expect(answer.body).not.toContain(id)
  })

  it('log a request at debug and nothing at info', async () => {
    const quiet = build()
    await quiet.app.inject('/livez')
    await quiet.app.inject('/nowhere')
    expect(quiet.lines).toEqual([])
    const chatty = build({ level: 'debug' })
    await chatty.app.inject('/livez')
    expect(chatty.lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { msg: 'request', url: '/livez', status: 200 },
    ])
  })
})

describe('listen', () => {
  const open = (app: Http, port = 0) => listen(app, { host: '127.0.0.1', port, variable: 'LIKE_API_PORT' })

  it('names the setting to change when the port is taken', async () => {
    const address = new URL(await open(build().app))
    await expect(open(build().app, Number(address.port))).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: `Port ${address.port} is in use; set LIKE_API_PORT to a free one.`,
    })
  })

  it('names the setting to change when the port is not for this user', async () => {
    const { app } = build()
    app.listen = () => Promise.reject(Object.assign(new Error('listen EACCES'), { code: 'EACCES' }))
    await expect(open(app, 80)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: 'Port 80 may not be opened by this user; set LIKE_API_PORT to one above 1023.',
    })
  })

  it('answers what is no HTTP with a problem too', async () => {
    const address = new URL(await open(build().app))
    const answer = await new Promise<string>((resolve) => {
      let text = ''
      const socket = connect(Number(address.port), '127.0.0.1', () => socket.write('what is this\r\n\r\n'))
      socket
        .on('data', (part) => (text += String(part)))
        .on('close', () => {
          resolve(text)
        })
    })
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
    expect(JSON.parse(answer.split('\r\n\r\n')[1] ?? '')).toMatchObject({
      type: 'urn:likewise:problem:bad-request',
      status: 400,
    })
  })
})
