import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { exampleRequests } from '@likewise/service/testing'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { type TestApp, startTestApp } from './testing.ts'

let test: TestDatabase
let started: TestApp

beforeAll(async () => {
  test = await freshDatabase('like_api_docs')
  started = startTestApp(test.as('likewise_api'))
})
afterAll(async () => {
  await started.stop()
  await test.drop()
})

describe('the documentation of like-api', () => {
  it('shows requests that work as they stand, each with an answer that it tells of', async () => {
    const { app } = started
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
