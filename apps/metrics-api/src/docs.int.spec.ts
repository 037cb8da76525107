import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { type Http, buildLogger, buildTelemetry } from '@likewise/service'
import { exampleRequests } from '@likewise/service/testing'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { buildApp } from './app.ts'

let test: TestDatabase
let app: Http
const streams = { tickMs: 50, heartbeatMs: 15_000, stuckMsMax: 30_000, streamsMax: 10 }

beforeAll(async () => {
  test = await freshDatabase('metrics_api_docs')
  const log = buildLogger({ service: 'test', level: 'silent' })
  app = buildApp({
    db: test.as('likewise_reader'),
    consumer: 'test',
    log,
    telemetry: buildTelemetry('test'),
    streams,
  })
})
afterAll(async () => {
  await app.close()
  await test.drop()
})

describe('the documentation of metrics-api', () => {
  it('shows requests that work as they stand, each with an answer that it tells of', async () => {
    const examples = exampleRequests((await app.inject('/openapi.json')).body)
    expect(examples.length).toBeGreaterThan(2)
    // A stream has no end to wait for: stream.int.spec.ts reads it.
    for (const { operationId, documented, ...request } of examples.filter(
      (example) => example.operationId !== 'streamMetrics',
    )) {
      const { statusCode } = await app.inject(request)
      expect({ operationId, isDone: Math.floor(statusCode / 100) === 2 }).toEqual({
        operationId,
        isDone: true,
      })
      expect(documented).toContain(statusCode)
    }
  })
})
