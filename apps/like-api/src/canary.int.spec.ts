import { connect } from 'node:net'
import { connectDatabase } from '@likewise/database'
import { type TestDatabase, freshDatabase, urlAs } from '@likewise/database/testing'
import { buildLogger, connectAuth, listen } from '@likewise/service'
import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { startTestApp } from './testing.ts'

const canary = 'c4n4ry'
let test: TestDatabase
const lines: string[] = []
const stops: (() => Promise<void>)[] = []

beforeAll(async () => {
  test = await freshDatabase('like_api_canary')
})
afterAll(async () => {
  await Promise.all(stops.map((stop) => stop()))
  await test.drop()
})

async function build(databaseUrl: string, mode: 'jwt' | 'trusted'): Promise<number> {
  const log = buildLogger({ service: 'test', level: 'trace' }, { write: (line) => void lines.push(line) })
  const tokens = {
    AUTH_ISSUER: 'x',
    AUTH_AUDIENCE: 'y',
    AUTH_SECRET: `${canary}-secret-of-thirty-two-bytes-or-more`,
  }
  const auth = await connectAuth(
    { AUTH_MODE: mode, HTTP_RATE_PER_CALLER: 200, ...(mode === 'jwt' ? tokens : {}) },
    { log },
  )
  const db = connectDatabase({
    url: databaseUrl,
    poolSizeMax: 2,
    connectTimeoutMs: 500,
    statementTimeoutMs: 500,
    applicationName: 'test',
  })
  const started = startTestApp(db, { answerWithinMs: 2_000 }, { auth, log })
  stops.push(() => started.stop().then(() => db.stop()))
  const { app } = started
  return Number(new URL(await listen(app, { host: '127.0.0.1', port: 0, variable: 'X' })).port)
}

/** All that comes back for these bytes. */
function send(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    let said = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    socket
      .on('data', (chunk) => (said += String(chunk)))
      .on('error', () => undefined)
      .on('close', () => resolve(said))
  })
}

const secrets = [
  `authorization: Bearer ${canary}.${canary}.${canary}`,
  `cookie: session=${canary}`,
  `proxy-authorization: Basic ${canary}`,
  `x-api-key: ${canary}`,
  `idempotency-key: ${canary}`,
].join('\r\n')
const body = '{"userId":1,"productId":100}'
const requests = [
  ['a like', `POST /api/likes?token=${canary} HTTP/1.1`, body],
  ['a body that is refused', 'POST /api/likes HTTP/1.1', `{"userId":"${canary}","${canary}":1}`],
  ['a body that is no JSON', 'POST /api/likes HTTP/1.1', canary],
  ['a path that is none', `GET /nowhere?password=${canary} HTTP/1.1`, ''],
  ['an escape that is none', `PUT /api/products/1/likes/%zz?${canary} HTTP/1.1`, ''],
] as const

it('no secret that is sent, or that the service was given, is in the log at any level', async () => {
  const away = new URL(urlAs('likewise_api', test.url))
  away.port = '1'
  away.username = 'somebody'
  away.password = canary
  for (const mode of ['jwt', 'trusted'] as const) {
    for (const url of [test.url, away.href]) {
      const port = await build(url, mode)
      for (const [what, line, payload] of requests) {
        const head = `${line}\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n${secrets}\r\n`
        const answer = await send(port, `${head}content-length: ${payload.length}\r\n\r\n${payload}`)
        expect([what, answer.slice(0, 9)]).toEqual([what, 'HTTP/1.1 '])
      }
      await send(port, `${canary} this is no HTTP\r\n\r\n`)
      await send(port, 'GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
    }
  }
  const log = lines.join('')
  expect(log).toMatch(/"level":"debug".*"request"/)
  expect(log).toMatch(/"level":"warn".*request failed for now/)
  expect(log).not.toContain(canary)
})

it.each([
  ['a line end in a header', 'GET / HTTP/1.1\r\nhost: x\r\nx-a: b\rset-cookie: c\r\n\r\n'],
  ['NUL in a header', 'GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \0\r\n\r\n'],
  [
    'two lengths',
    `POST /api/likes HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 28\r\n\r\n${body}`,
  ],
  [
    'a length and chunks, as smugglers send them',
    'POST /api/likes HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['headers without end', `GET / HTTP/1.1\r\nhost: x\r\nx-a: ${'a'.repeat(20_000)}\r\n\r\n`],
])('%s is refused, and the connection closed', async (_what, text) => {
  const port = await build(urlAs('likewise_api', test.url), 'trusted')
  const answer = await send(port, text)
  expect(answer).toMatch(/^HTTP\/1\.1 (400|431) [\s\S]*application\/problem\+json/)
  expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1)
})

it('nothing of a request comes back as a header of the answer', async () => {
  const port = await build(urlAs('likewise_api', test.url), 'trusted')
  for (const path of [
    '/a%0d%0aset-cookie:%20x=1',
    '/api/products/1%0d%0aset-cookie:x=1/likes/1',
    '/%0aset-cookie:x',
  ]) {
    const answer = await send(
      port,
      `PUT ${path} HTTP/1.1\r\nhost: x\r\norigin: http://a\r\nconnection: close\r\n\r\n`,
    )
    const [head = ''] = answer.split('\r\n\r\n')
    expect(head).toMatch(/^HTTP\/1\.1 4/)
    expect(head).not.toMatch(/^set-cookie/im)
  }
})
