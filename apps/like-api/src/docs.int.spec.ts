import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { type Http, buildLogger, buildTelemetry } from '@likewise/service'
import { exampleRequests } from '@likewise/service/testing'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { buildApp } from './app.ts'

let test: TestDatabase
let app: Http

beforeAll(async () => {
  test = await freshDatabase('like_api_docs')
  const log = buildLogger({ service: 'test', level: 'silent' })
  app = buildApp({ db: test.db, log, telemetry: buildTelemetry('test') })
})
afterAll(async () => {
  await app.close()
  await test.drop()
})

describe('the documentation of like-api', () => {
  it('shows requests that work as they stand, each with an answer that it tells of', async () => {
    const examples = exampleRequests((await app.inject('/openapi.json')).body)
    expect(examples.length).toBeGreaterThan(2)
    for (const { operationId, documented, ...request } of examples) {
      const { statusCode } = await app.inject(request)
      expect({ operationId, isDone: Math.floor(statusCode / 100) === 2 }).toEqual({
        operationId,
        isDone: true,
      })
      expect(documented).toContain(statusCode)
    }
  })
})
