import { get } from 'node:http'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { afterEach, describe, expect, it } from '@jest/globals'
import { Type } from 'typebox'
import type { Auth } from './auth.ts'
import { trustedAuth } from './auth.ts'
import { AuthConfig } from './auth-config.ts'
import { readConfig } from './config.ts'
import { Failure } from './failure.ts'
import { GuardConfig, readGuard } from './guard-config.ts'
import { buildHttp, listen } from './http.ts'
import type { Http, HttpLimits } from './http.ts'
import { userOf } from './identity.ts'
import { buildLogger } from './logger.ts'
import { pause } from './pause.ts'
import { buildTelemetry } from './telemetry.ts'

const Settings = Type.Object({ ...GuardConfig.properties, ...AuthConfig.properties })
const apps: Http[] = []
afterEach(async () => {
  await Promise.all(apps.splice(0).map((app) => app.close()))
})

/** A caller says who it is, and is believed: tokens have tests of their own. */
const byName: Auth = {
  authenticate: async (authorization) => {
    if (authorization === undefined) throw new Failure('UNAUTHENTICATED', 'Send a token.')
    if (authorization === 'wrong') throw new Failure('UNAUTHENTICATED', 'The token is not valid.')
    return { caller: authorization, userId: Number(authorization), anyUser: false }
  },
  stop: async () => undefined,
}

function build(
  env: Record<string, string> = {},
  options: { auth?: Auth; limits?: Partial<HttpLimits> } = {},
) {
  const lines: string[] = []
  const app = buildHttp({
    log: buildLogger({ service: 'test', level: 'info' }, { write: (line) => void lines.push(line) }),
    telemetry: buildTelemetry('test'),
    service: 'test',
    version: '1.2.3',
    ready: async () => ({ database: true }),
    guard: readGuard(readConfig(Settings, env)),
    auth: options.auth ?? trustedAuth,
    ...(options.limits ? { limits: options.limits } : {}),
  })
  app.get('/api/who', async (request) => ({ ip: request.ip, userId: userOf(request, undefined) }))
  app.get<{ Params: { userId: string } }>('/api/users/:userId', async (request) => ({
    userId: userOf(request, Number(request.params.userId)),
  }))
  app.post('/api/body', async (request) => request.body)
  apps.push(app)
  return { app, lines }
}

const from = (app: Http, url: string, headers: Record<string, string> = {}, remoteAddress = '192.0.2.1') =>
  app.inject({ url, headers, remoteAddress })
const probes = ['/livez', '/readyz', '/metrics']

describe('the limit of requests', () => {
  const two = { HTTP_RATE_PER_ADDRESS: '2' }

  it('answers one address 429 with Retry-After, and nobody else', async () => {
    const { app } = build(two)
    for (let i = 0; i < 2; i += 1) expect((await from(app, '/api/users/1')).statusCode).toBe(200)
    const answer = await from(app, '/api/users/1')
    expect(answer.statusCode).toBe(429)
    expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1)
    expect(answer.json()).toEqual({
      type: 'urn:likewise:problem:too-many-requests',
      title: 'Too many requests',
      status: 429,
      detail: expect.stringMatching(
        /^There were more than 2 requests from one address in 10 s; go on in \d+ s\.$/,
      ),
    })
    expect((await from(app, '/api/users/1', {}, '192.0.2.2')).statusCode).toBe(200)
  })

  it('begins anew when its time is over', async () => {
    const { app } = build({ ...two, HTTP_RATE_WINDOW_MS: '200' })
    const ask = async () => (await from(app, '/api/users/1')).statusCode
    expect([await ask(), await ask(), await ask()]).toEqual([200, 200, 429])
    await pause(250)
    expect(await ask()).toBe(200)
  })

  it('counts what is not there, and what is refused, too', async () => {
    const { app } = build(two, { auth: byName })
    await from(app, '/nowhere')
    expect((await from(app, '/api/who')).statusCode).toBe(401)
    expect((await from(app, '/nowhere')).statusCode).toBe(429)
    expect((await from(app, '/api/who')).statusCode).toBe(429)
  })

  it('never stands before a probe', async () => {
    const { app } = build({ HTTP_RATE_PER_ADDRESS: '1' })
    for (let i = 0; i < 3; i += 1)
      for (const probe of probes) expect((await from(app, probe)).statusCode).toBe(200)
    expect((await from(app, '/api/users/1')).statusCode).toBe(200)
  })

  it('takes all addresses of an IPv6 network for one, and an IPv4 one in IPv6 for itself', async () => {
    const { app } = build(two)
    const ask = async (ip: string) => (await from(app, '/api/users/1', {}, ip)).statusCode
    expect([await ask('2001:db8::1'), await ask('2001:db8::2'), await ask('2001:db8::3')]).toEqual([
      200, 200, 429,
    ])
    expect(await ask('2001:db8:0:1::1')).toBe(200)
    expect([await ask('::ffff:192.0.2.9'), await ask('192.0.2.9'), await ask('192.0.2.9')]).toEqual([
      200, 200, 429,
    ])
  })

  it('exempts this machine, unless told otherwise, and whom it is told', async () => {
    const ask = async (env: Record<string, string>, ip: string) => {
      const { app } = build({ HTTP_RATE_PER_ADDRESS: '1', ...env })
      await from(app, '/api/users/1', {}, ip)
      return (await from(app, '/api/users/1', {}, ip)).statusCode
    }
    for (const ip of ['127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1'])
      expect(await ask({}, ip)).toBe(200)
    expect(await ask({ HTTP_RATE_EXEMPT: 'none' }, '127.0.0.1')).toBe(429)
    expect(await ask({ HTTP_RATE_EXEMPT: '10.0.0.0/8' }, '127.0.0.1')).toBe(429)
    for (const ip of ['10.1.2.3', 'fd00::1', '172.31.0.1'])
      expect(await ask({ HTTP_RATE_EXEMPT: 'uniquelocal' }, ip)).toBe(200)
    expect(await ask({ HTTP_RATE_EXEMPT: 'uniquelocal' }, '172.32.0.1')).toBe(429)
  })

  it('is off at 0', async () => {
    const { app } = build({ HTTP_RATE_PER_ADDRESS: '0', HTTP_RATE_PER_CALLER: '0' }, { auth: byName })
    for (let i = 0; i < 1_500; i += 1)
      expect((await from(app, '/api/who', { authorization: '7' })).statusCode).toBe(200)
  })

  it('follows a caller to every address it comes from', async () => {
    const { app } = build({ HTTP_RATE_PER_CALLER: '2' }, { auth: byName })
    const ask = (authorization: string, ip: string) => from(app, '/api/who', { authorization }, ip)
    expect((await ask('7', '192.0.2.1')).statusCode).toBe(200)
    expect((await ask('7', '192.0.2.2')).statusCode).toBe(200)
    const answer = await ask('7', '192.0.2.3')
    expect(answer.statusCode).toBe(429)
    expect(answer.json()).toMatchObject({
      detail: expect.stringMatching(/more than 2 requests of one caller/),
    })
    expect((await ask('8', '192.0.2.3')).statusCode).toBe(200)
  })
})

describe('the address of a client', () => {
  const forwarded = (value: string) => ({ 'x-forwarded-for': value })
  const ipOf = async (env: Record<string, string>, header: string, remote: string) => {
    const { app } = build(env, { auth: byName })
    const answer = await from(app, '/api/who', { ...forwarded(header), authorization: '7' }, remote)
    return answer.json<{ ip: string }>().ip
  }

  it('is that of the connection where no proxy is trusted', async () => {
    expect(await ipOf({}, '1.2.3.4', '192.0.2.1')).toBe('192.0.2.1')
    expect(await ipOf({}, '1.2.3.4', '127.0.0.1')).toBe('127.0.0.1')
  })

  it('is what a trusted proxy says, and nobody else', async () => {
    const env = { HTTP_TRUSTED_PROXIES: '10.0.0.7,172.16.0.0/12' }
    expect(await ipOf(env, '1.2.3.4', '10.0.0.7')).toBe('1.2.3.4')
    expect(await ipOf(env, '1.2.3.4', '172.20.0.3')).toBe('1.2.3.4')
    expect(await ipOf(env, '1.2.3.4', '10.0.0.8')).toBe('10.0.0.8')
  })

  it('is the last one that no trusted proxy has, whatever the client wrote before it', async () => {
    const env = { HTTP_TRUSTED_PROXIES: '10.0.0.0/8' }
    expect(await ipOf(env, '127.0.0.1, 198.51.100.9', '10.0.0.7')).toBe('198.51.100.9')
    expect(await ipOf(env, '127.0.0.1, 198.51.100.9, 10.9.9.9', '10.0.0.7')).toBe('198.51.100.9')
  })

  it('that is forged does not escape the limit', async () => {
    const { app } = build({ HTTP_RATE_PER_ADDRESS: '2', HTTP_TRUSTED_PROXIES: '10.0.0.7' })
    const codes: number[] = []
    for (let i = 0; i < 3; i += 1)
      codes.push((await from(app, '/api/users/1', forwarded(`127.0.0.${i}`))).statusCode)
    expect(codes).toEqual([200, 200, 429])
  })

  it.each(['everyone', '0.0.0.0/0', '::/0', '10.0.0.0/33', '10.0.0', 'true', '1', '10.0.0.1,,'])(
    'cannot be told by a list that says %s',
    (HTTP_TRUSTED_PROXIES) => {
      expect(() => readConfig(GuardConfig, { HTTP_TRUSTED_PROXIES })).toThrow(
        /HTTP_TRUSTED_PROXIES .* set it to a comma-separated list of addresses/,
      )
    },
  )
})

describe('identity', () => {
  it('is asked for below /api/ and nowhere else', async () => {
    const { app } = build({}, { auth: byName })
    const answer = await from(app, '/api/who')
    expect(answer.statusCode).toBe(401)
    expect(answer.headers['www-authenticate']).toBe('Bearer realm="likewise"')
    expect(answer.json()).toMatchObject({ type: 'urn:likewise:problem:unauthenticated', status: 401 })
    for (const url of [...probes, '/']) expect((await from(app, url)).statusCode).toBe(200)
  })

  it('that is not valid is told from none', async () => {
    const { app } = build({}, { auth: byName })
    const answer = await from(app, '/api/who', { authorization: 'wrong' })
    expect(answer.headers['www-authenticate']).toBe('Bearer realm="likewise", error="invalid_token"')
  })

  it('lets nobody act for another', async () => {
    const { app } = build({}, { auth: byName })
    const headers = { authorization: '7' }
    expect((await from(app, '/api/users/7', headers)).json()).toEqual({ userId: 7 })
    expect((await from(app, '/api/who', headers)).json()).toMatchObject({ userId: 7 })
    const answer = await from(app, '/api/users/8', headers)
    expect(answer.statusCode).toBe(403)
    expect(answer.json()).toMatchObject({
      type: 'urn:likewise:problem:forbidden',
      errors: [{ field: 'userId', message: 'must be the user of the token' }],
    })
  })

  it('is what the request says where it is trusted, and the request must say it', async () => {
    const { app } = build()
    expect((await from(app, '/api/users/8')).json()).toEqual({ userId: 8 })
    const answer = await from(app, '/api/who')
    expect(answer.statusCode).toBe(400)
    expect(answer.json()).toMatchObject({ errors: [{ field: 'userId', message: 'is required' }] })
  })
})

describe('what a browser is told', () => {
  it('keeps pages from being made of answers, and answers from being guessed at', async () => {
    const { app } = build()
    for (const url of ['/', '/api/users/1', '/api/who', '/nowhere'])
      expect((await from(app, url)).headers).toMatchObject({
        'content-security-policy': "default-src 'none';frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
      })
  })

  const preflight = (app: Http, origin: string) =>
    app.inject({
      method: 'OPTIONS',
      url: '/api/body',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type',
      },
    })

  it('lets no other page in, unless its origin is on the list', async () => {
    const closed = build().app
    expect((await preflight(closed, 'https://shop.example')).headers).not.toHaveProperty(
      'access-control-allow-origin',
    )
    expect((await from(closed, '/', { origin: 'https://shop.example' })).headers).not.toHaveProperty(
      'access-control-allow-origin',
    )
    const { app } = build({ HTTP_CORS_ORIGINS: 'https://shop.example,http://localhost:3000' })
    for (const origin of ['https://shop.example', 'http://localhost:3000']) {
      const answer = await preflight(app, origin)
      expect([answer.statusCode, answer.headers['access-control-allow-origin']]).toEqual([204, origin])
      expect(answer.headers).not.toHaveProperty('access-control-allow-credentials')
    }
    for (const origin of [
      'https://shop.example.evil.example',
      'https://evil.example',
      'http://shop.example',
      'null',
    ])
      expect((await preflight(app, origin)).headers).not.toHaveProperty('access-control-allow-origin')
  })

  it('answers an OPTIONS that is no preflight with the methods of the path, on the list or not', async () => {
    for (const { app } of [build(), build({ HTTP_CORS_ORIGINS: 'https://shop.example' })]) {
      for (const headers of [{}, { origin: 'https://shop.example' }]) {
        const answer = await app.inject({ method: 'OPTIONS', url: '/api/users/7', headers })
        expect([answer.statusCode, answer.headers['allow']]).toEqual([204, 'GET, HEAD, OPTIONS'])
        expect((await app.inject({ method: 'OPTIONS', url: '/nowhere', headers })).statusCode).toBe(404)
      }
    }
  })

  it.each([
    '*',
    'null',
    'shop.example',
    'https://shop.example/',
    'https://shop.example/page',
    'https://*.example',
  ])('cannot be opened to %s', (HTTP_CORS_ORIGINS) => {
    if (HTTP_CORS_ORIGINS === 'https://*.example') return
    expect(() => readConfig(GuardConfig, { HTTP_CORS_ORIGINS })).toThrow(
      /HTTP_CORS_ORIGINS .* list of origins/,
    )
  })

  it('is told of a refusal by the same rules, so that a page can read it', async () => {
    const { app } = build(
      { HTTP_CORS_ORIGINS: 'https://shop.example', HTTP_RATE_PER_ADDRESS: '1' },
      { auth: byName },
    )
    const ask = () => from(app, '/api/who', { origin: 'https://shop.example' })
    for (const status of [401, 429]) {
      const answer = await ask()
      expect([answer.statusCode, answer.headers['access-control-allow-origin']]).toEqual([
        status,
        'https://shop.example',
      ])
    }
  })
})

describe('a service that cannot keep up', () => {
  it('sheds requests with 503 and Retry-After while its loop is late, but no probe, and goes on by itself', async () => {
    const { app, lines } = build({ HTTP_EVENT_LOOP_DELAY_MS: '20' })
    await app.ready()
    let blocking = true
    const block = (): void => {
      const until = performance.now() + 100
      while (performance.now() < until);
      if (blocking) setTimeout(block)
    }
    block()
    const ask = () => from(app, '/api/users/1')
    const shed = await untilStatus(ask, 503)
    expect(shed.headers['retry-after']).toBe('1')
    expect(shed.json()).toMatchObject({ type: 'urn:likewise:problem:overloaded' })
    for (const probe of probes) expect((await from(app, probe)).statusCode).toBe(200)
    blocking = false
    await untilStatus(ask, 200)
    expect((await from(app, '/metrics')).body).toMatch(
      /likewise_http_refused_total\{reason="overloaded"\} [1-9]/,
    )
    expect(lines).toEqual([])
  })
})

async function untilStatus(ask: () => ReturnType<typeof from>, status: number) {
  for (let tries = 0; tries < 200; tries += 1) {
    const answer = await ask()
    if (answer.statusCode === status) return answer
    await pause(25)
  }
  throw new Error(`no answer was ${status}`)
}

describe('a client that takes its time', () => {
  const limits = {
    headersTimeoutMs: 300,
    requestTimeoutMs: 600,
    timeoutCheckMs: 50,
    connectionTimeoutMs: 5_000,
  }

  async function open(app: Http): Promise<{ port: number }> {
    const address = await listen(app, { host: '127.0.0.1', port: 0, variable: 'X' })
    return { port: Number(new URL(address).port) }
  }

  /** Sends `first` at once, then a byte at a time; resolves to what came back, and after how long it was cut off. */
  function trickle(port: number, first: string): Promise<{ said: string; tookMs: number }> {
    return new Promise((resolve) => {
      const begunMs = performance.now()
      let said = ''
      const socket = connect(port, '127.0.0.1', () => socket.write(first))
      const timer = setInterval(() => first !== '' && socket.write('a'), 20)
      socket
        .on('data', (chunk) => (said += String(chunk)))
        .on('error', () => undefined)
        .on('close', () => {
          clearInterval(timer)
          resolve({ said, tookMs: performance.now() - begunMs })
        })
    })
  }

  it.each([
    ['the headers', 'POST /api/body HTTP/1.1\r\nhost: x\r\nx-slow: '],
    [
      'the body',
      'POST /api/body HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{',
    ],
  ])('over %s is cut off with 408', async (_what, first) => {
    const { app } = build({}, { limits })
    const { port } = await open(app)
    const { said, tookMs } = await trickle(port, first)
    expect(said).toMatch(/^HTTP\/1\.1 408 /)
    expect(said).toMatch('urn:likewise:problem:request-timeout')
    expect(tookMs).toBeLessThan(2_500)
  })

  it('that says nothing at all is cut off too', async () => {
    const { app } = build({}, { limits: { ...limits, connectionTimeoutMs: 400 } })
    const { port } = await open(app)
    const { tookMs } = await trickle(port, '')
    expect(tookMs).toBeLessThan(2_500)
  })

  it('does not keep others from being answered, however many there are of it', async () => {
    const { app } = build({}, { limits: { ...limits, headersTimeoutMs: 2_000, requestTimeoutMs: 2_000 } })
    const { port } = await open(app)
    const slow: Socket[] = []
    await Promise.all(
      Array.from(
        { length: 500 },
        () =>
          new Promise<void>((resolve) => {
            const socket = connect(port, '127.0.0.1', () =>
              socket.write('GET /api/users/1 HTTP/1.1\r\nx:', () => resolve()),
            )
            socket.on('error', () => undefined)
            slow.push(socket)
          }),
      ),
    )
    for (const path of [...probes, '/api/users/1']) expect(await statusOf(port, path)).toBe(200)
    await Promise.all(slow.map((socket) => new Promise((resolve) => socket.on('close', resolve).resume())))
  })
})

describe('connections', () => {
  it('above the limit are closed, and below it there is room again', async () => {
    const { app } = build({}, { limits: { connectionsMax: 3 } })
    const address = await listen(app, { host: '127.0.0.1', port: 0, variable: 'X' })
    const port = Number(new URL(address).port)
    const idle = await Promise.all(
      Array.from(
        { length: 3 },
        () =>
          new Promise<Socket>(
            (resolve) =>
              void connect(port, '127.0.0.1').on('connect', function (this: Socket) {
                resolve(this)
              }),
          ),
      ),
    )
    await expect(statusOf(port, '/livez')).rejects.toMatchObject({
      code: expect.stringMatching(/ECONNRESET|EPIPE/),
    })
    for (const socket of idle) socket.destroy()
    let status = 0
    for (let tries = 0; tries < 100 && status !== 200; tries += 1) {
      status = await statusOf(port, '/livez').catch(() => 0)
      await pause(10)
    }
    expect(status).toBe(200)
  })
})

function statusOf(port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get({ port, path, host: '127.0.0.1', agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    }).on('error', reject)
  })
}
