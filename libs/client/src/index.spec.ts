import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { connectLikeApi, connectMetricsApi } from './index.ts'

/** Answers with what it was asked, as a problem. */
let server: Server
let url: string

beforeAll(async () => {
  server = createServer((request, response) => {
    response.writeHead(400, { 'content-type': 'application/problem+json', connection: 'close' })
    response.end(JSON.stringify({ type: 'urn:test', detail: `${request.method ?? ''} ${request.url ?? ''}` }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`
})
afterAll(() => new Promise((resolve) => server.close(resolve)))

describe('the typed client', () => {
  it('sends a list as the services read it, and resolves to the problem it is refused with', async () => {
    const { data, error, response } = await connectMetricsApi(url).GET('/api/metrics', {
      params: { query: { ids: [100, 7] } },
    })
    expect([data, response.status]).toEqual([undefined, 400])
    expect(error).toMatchObject({ type: 'urn:test', detail: 'GET /api/metrics?ids=100,7' })
  })

  it('puts ids into the path', async () => {
    const { error } = await connectLikeApi(url).DELETE('/api/products/{productId}/likes/{userId}', {
      params: { path: { productId: 100, userId: 1 } },
    })
    expect(error).toMatchObject({ detail: 'DELETE /api/products/100/likes/1' })
  })
})
