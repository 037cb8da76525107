import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { type Http, type Problem, buildLogger, connectAuth } from '@likewise/service'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { createHmac } from 'node:crypto'
import { type TestApp, startTestApp } from './testing.ts'

const secret = 'a-secret-of-at-least-thirty-two-bytes'
let test: TestDatabase
let started: TestApp
let app: Http

beforeAll(async () => {
  test = await freshDatabase('like_api_identity')
  const log = buildLogger({ service: 'test', level: 'silent' })
  const auth = await connectAuth(
    {
      AUTH_MODE: 'jwt',
      AUTH_ISSUER: 'https://id.example',
      AUTH_AUDIENCE: 'likewise',
      AUTH_SECRET: secret,
      AUTH_ANY_USER_SCOPE: 'likes:any-user',
      HTTP_RATE_PER_CALLER: 0,
    },
    { log },
  )
  started = startTestApp(test.as('likewise_api'), {}, { auth })
  app = started.app
})
afterAll(async () => {
  await started.stop()
  await test.drop()
})
beforeEach(async () => {
  await test.db.execute(sql`truncate catalog.likes, catalog.outbox_events`)
})

function token(changed: Record<string, unknown> = {}): string {
  const exp = Math.floor(Date.now() / 1_000) + 60
  const claims = { iss: 'https://id.example', aud: 'likewise', sub: '7', exp, ...changed }
  const encoded = [{ alg: 'HS256' }, claims].map((part) =>
    Buffer.from(JSON.stringify(part)).toString('base64url'),
  )
  const signature = createHmac('sha256', secret).update(encoded.join('.')).digest('base64url')
  return [...encoded, signature].join('.')
}

type Method = 'POST' | 'PUT' | 'DELETE'
const send = (method: Method, url: string, { as, body }: { as?: string; body?: object } = {}) =>
  app.inject({
    method,
    url,
    ...(body ? { payload: body } : {}),
    headers: as === undefined ? {} : { authorization: `Bearer ${as}` },
  })
const likes = () =>
  test.db.query<{ user: number; product: number }>(
    sql`select user_id::int as user, product_id::int as product from catalog.likes order by 1, 2`,
  )

const doors: [Method, string, object | undefined][] = [
  ['POST', '/api/likes', { userId: 7, productId: 100 }],
  ['PUT', '/api/products/100/likes/7', undefined],
  ['DELETE', '/api/products/100/likes/7', undefined],
  ['POST', '/api/likes/batch', { items: [{ userId: 7, productId: 100 }] }],
]

describe('with AUTH_MODE=jwt', () => {
  it.each(doors)(
    '%s %s takes the user’s own token, and no request without one',
    async (method, url, body) => {
      const without = await send(method, url, body ? { body } : {})
      expect([without.statusCode, without.headers['www-authenticate']]).toEqual([
        401,
        'Bearer realm="likewise"',
      ])
      expect(without.json<Problem>().type).toBe('urn:likewise:problem:unauthenticated')
      expect(await likes()).toEqual([])
      const own = await send(method, url, { as: token(), ...(body ? { body } : {}) })
      expect(own.statusCode).toBeLessThan(300)
      expect(await likes()).toEqual(method === 'DELETE' ? [] : [{ user: 7, product: 100 }])
    },
  )

  it.each(doors)('%s %s lets nobody act for another', async (method, url, body) => {
    await send('PUT', '/api/products/100/likes/7', { as: token() })
    const answer = await send(method, url, { as: token({ sub: '8' }), ...(body ? { body } : {}) })
    expect([answer.statusCode, answer.json<Problem>().type]).toEqual([403, 'urn:likewise:problem:forbidden'])
    expect(await likes()).toEqual([{ user: 7, product: 100 }])
  })

  it('lets nobody do one like of a batch for another, nor look whether another likes it', async () => {
    const items = [{ productId: 1 }, { userId: 8, productId: 100 }]
    const answer = await send('POST', '/api/likes/batch', { as: token(), body: { items } })
    expect([answer.statusCode, await likes()]).toEqual([403, []])
    const look = { url: '/api/products/100/likes/8', headers: { authorization: `Bearer ${token()}` } }
    expect((await app.inject(look)).statusCode).toBe(403)
  })

  it('a like need not name the user again', async () => {
    const answer = await send('POST', '/api/likes', { as: token(), body: { productId: 100 } })
    expect([answer.statusCode, answer.json()]).toEqual([
      201,
      { userId: 7, productId: 100, liked: true, changed: true },
    ])
  })

  it('a token with the scope for it acts for any user, and must say for whom', async () => {
    const as = token({ sub: 'importer', scope: 'likes:any-user' })
    expect((await send('PUT', '/api/products/100/likes/7', { as })).statusCode).toBe(201)
    expect((await send('POST', '/api/likes', { as, body: { userId: 8, productId: 100 } })).statusCode).toBe(
      201,
    )
    const unnamed = await send('POST', '/api/likes', { as, body: { productId: 100 } })
    expect([unnamed.statusCode, unnamed.json<Problem>().errors]).toEqual([
      400,
      [{ field: 'userId', message: 'is required' }],
    ])
  })

  it('does not read a body before it knows whose it is', async () => {
    const answer = await app.inject({
      method: 'POST',
      url: '/api/likes',
      payload: 'x'.repeat(1_000_000),
      headers: { 'content-type': 'application/json' },
    })
    expect(answer.statusCode).toBe(401)
  })

  it('answers probes and the index without a token, and does not speak of keys where it has its own', async () => {
    for (const url of ['/livez', '/readyz', '/metrics', '/'])
      expect((await app.inject(url)).statusCode).toBe(200)
    expect((await app.inject('/readyz')).json()).toEqual({ status: 'ready', checks: { database: 'ok' } })
  })
})
