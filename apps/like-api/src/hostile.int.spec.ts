import { connectDatabase, sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import type { Http, Problem } from '@likewise/service'
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type TestApp, startTestApp } from './testing.ts'

let test: TestDatabase
let started: TestApp
let app: Http

beforeAll(async () => {
  test = await freshDatabase('like_api_hostile')
  started = startTestApp(test.as('likewise_api'))
  app = started.app
})
afterAll(async () => {
  await started.stop()
  await test.drop()
})
afterEach(async () => {
  const written = await test.db.query(sql`
    select 'like' from catalog.likes union all select 'event' from catalog.outbox_events`)
  expect(written).toEqual([])
})

const send = (payload: string | Buffer, contentType = 'application/json') =>
  app.inject({ method: 'POST', url: '/api/likes', payload, headers: { 'content-type': contentType } })

type Answer = Awaited<ReturnType<typeof send>>

function problemOf(answer: Answer): Problem {
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
  const problem = answer.json<Problem>()
  expect(problem.status).toBe(answer.statusCode)
  return problem
}

describe('a body that is no like', () => {
  it.each([
    ['userId', '{"userId":"1","productId":100}'],
    ['userId', '{"userId":0,"productId":100}'],
    ['userId', '{"userId":-1,"productId":100}'],
    ['userId', '{"userId":1.5,"productId":100}'],
    ['userId', '{"userId":9007199254740992,"productId":100}'],
    ['userId', '{"userId":1e308,"productId":100}'],
    ['userId', '{"userId":null,"productId":100}'],
    ['userId', '{"userId":true,"productId":100}'],
    ['userId', '{"userId":[1],"productId":100}'],
    ['userId', '{"userId":{"$gt":0},"productId":100}'],
    ['userId', '{"productId":100}'],
    ['productId', '{"userId":1}'],
    ['productId', '{"userId":1,"productId":"100"}'],
    ['productId', '{"userId":1,"productId":"100; drop table catalog.likes"}'],
    ['productId', '{"userId":1,"productId":-9007199254740991}'],
    ['productId', '{"userId":1,"productId":18446744073709551616}'],
    ['createdAt', '{"userId":1,"productId":100,"createdAt":"2020-01-01T00:00:00Z"}'],
    ['UserId', '{"UserId":1,"userId":1,"productId":100}'],
    ['', '{"userId":1,"productId":100,"":1}'],
    ['toString', '{"userId":1,"productId":100,"toString":1}'],
    ['body', '[{"userId":1,"productId":100}]'],
    ['body', '[]'],
    ['body', 'null'],
    ['body', 'true'],
    ['body', '1'],
    ['body', '"{\\"userId\\":1,\\"productId\\":100}"'],
  ])('names %s for %s', async (field, body) => {
    const answer = await send(body)
    const problem = problemOf(answer)
    expect([problem.status, problem.type]).toEqual([400, 'urn:likewise:problem:body-invalid'])
    expect(problem.errors?.map((error) => error.field)).toEqual([field])
  })

  it.each([
    ['an empty body', ''],
    ['broken JSON', '{"userId":1,"productId":'],
    ['a comma too many', '{"userId":1,"productId":100,}'],
    ['two values', '{"userId":1,"productId":100}{}'],
    ['NaN', '{"userId":NaN,"productId":100}'],
    ['NULs', '\u0000\u0000'],
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00])],
    ['__proto__', '{"userId":1,"productId":100,"__proto__":{"admin":true}}'],
    ['an escaped __proto__', '{"userId":1,"productId":100,"__pr\\u006fto__":{"admin":true}}'],
    ['a poisoned constructor', '{"userId":1,"productId":100,"constructor":{"prototype":{"admin":true}}}'],
    ['a user that comes twice', '{"userId":1,"userId":2,"productId":100}'],
    ['a user that would be rounded to another', '{"userId":9007199254740990.9999,"productId":100}'],
    ['a name with NUL', '{"userId":1,"productId":100,"\\u0000":1}'],
    ['a name with half of a character', '{"userId":1,"productId":100,"\\ud800":1}'],
    [
      'text that is no UTF-8',
      Buffer.from('7b2275736572496422 3a31 2c22ff22 3a317d'.replaceAll(' ', ''), 'hex'),
    ],
    ['UTF-16', Buffer.from('{"userId":1,"productId":100}', 'utf16le')],
    ['10,000 open brackets', '['.repeat(10_000)],
  ])('says that the body is at fault for %s', async (_, body) => {
    const problem = problemOf(await send(body))
    expect([problem.status, problem.type]).toEqual([400, 'urn:likewise:problem:body-invalid'])
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })

  it('is not even read when it is larger than a like can be', async () => {
    const problem = problemOf(await send(`{"userId":1,"productId":100,"x":"${'x'.repeat(1_000_000)}"}`))
    expect([problem.status, problem.type]).toEqual([413, 'urn:likewise:problem:body-too-large'])
  })

  it.each([
    'text/plain',
    'application/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
  ])('is refused as %s', async (contentType) => {
    const problem = problemOf(await send('{"userId":1,"productId":100}', contentType))
    expect([problem.status, problem.type]).toEqual([415, 'urn:likewise:problem:media-type-unsupported'])
  })

  it('never breaks the service, whatever the JSON', async () => {
    const value = fc.jsonValue({ maxDepth: 3 })
    const near = fc.record({ userId: value, productId: value }, { requiredKeys: [] })
    await fc.assert(
      fc.asyncProperty(fc.oneof(value, near), async (body) => {
        const isId = (id: unknown) => Number.isSafeInteger(id) && (id as number) > 0
        const fields = (typeof body === 'object' ? body : null) as Record<string, unknown> | null
        fc.pre(!(isId(fields?.['userId']) && isId(fields?.['productId'])))
        const problem = problemOf(await send(JSON.stringify(body)))
        expect(problem.status).toBe(400)
      }),
      { numRuns: 200 },
    )
  })
})

describe('a path that names no like', () => {
  const wrong = [
    '0',
    '-1',
    '1.5',
    '9007199254740992',
    'abc',
    '%00',
    '1%00',
    '%27',
    '1e3',
    '0x10',
    '+1',
    '01',
    '%201',
    '１',
  ]

  it.each(wrong)('names the product %s', async (id) => {
    for (const method of ['PUT', 'DELETE'] as const) {
      const problem = problemOf(await app.inject({ method, url: `/api/products/${encode(id)}/likes/1` }))
      expect([problem.status, problem.type]).toEqual([400, 'urn:likewise:problem:params-invalid'])
      expect(problem.errors?.map((error) => error.field)).toEqual(['productId'])
    }
  })

  it.each(wrong)('names the user %s', async (id) => {
    for (const method of ['PUT', 'DELETE'] as const) {
      const problem = problemOf(await app.inject({ method, url: `/api/products/100/likes/${encode(id)}` }))
      expect(problem.errors?.map((error) => error.field)).toEqual(['userId'])
    }
  })

  it.each([
    ['/api/products/100/likes/%zz', 400],
    ['/api/products/100/likes/', 400],
    ['/api/products/100/likes', 404],
    ['/api/products//likes/1', 400],
    ['/api/products/100/likes/1/2', 404],
    [`/api/products/${'1'.repeat(3_000)}/likes/1`, 400],
  ])('%s is a problem, not an error of ours', async (url, status) => {
    expect(problemOf(await app.inject({ method: 'PUT', url })).status).toBe(status)
  })
})

/** Percent-encodes what is not ASCII and leaves what is encoded already. */
const encode = (id: string): string => id.replace(/[^ -~]/g, encodeURIComponent)

describe('while the database is away', () => {
  it('answers 503 with Retry-After, fast, names no host, and stays alive', async () => {
    const url = new URL(test.url)
    url.port = '1'
    const options = {
      poolSizeMax: 2,
      connectTimeoutMs: 500,
      statementTimeoutMs: 500,
      applicationName: 'test',
    }
    const db = connectDatabase({ url: url.href, ...options })
    const { app: cut, stop } = startTestApp(db)
    for (const [method, path] of [
      ['PUT', '/api/products/1/likes/1'],
      ['DELETE', '/api/products/1/likes/1'],
    ] as const) {
      const began = performance.now()
      const answer = await cut.inject({ method, url: path })
      expect(performance.now() - began).toBeLessThan(1_000)
      expect(problemOf(answer)).toMatchObject({
        status: 503,
        type: 'urn:likewise:problem:database-unavailable',
      })
      expect(answer.headers['retry-after']).toBe('1')
      expect(answer.body).not.toContain(url.hostname)
    }
    const ready = await cut.inject('/readyz')
    expect([ready.statusCode, (await cut.inject('/livez')).statusCode]).toEqual([503, 200])
    await stop()
    await db.stop()
  })
})
