import { once } from 'node:events'
import { type IncomingMessage, get } from 'node:http'
import { afterEach, describe, expect, it } from '@jest/globals'
import { type EventStream, openEventStream } from './event-stream.ts'
import { buildHttp, listen } from './http.ts'
import { buildLogger } from './logger.ts'
import { buildTelemetry } from './telemetry.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Opened {
  stream: EventStream
  response: IncomingMessage
  closed: Promise<string>
  kept: () => number
  metrics: () => Promise<string>
}

async function open(options: { heartbeatMs?: number; stuckMsMax?: number } = {}): Promise<Opened> {
  const telemetry = buildTelemetry('test')
  const app = buildHttp({
    log: buildLogger({ service: 'test', level: 'silent' }),
    telemetry,
    service: 'test',
    version: '1',
    ready: async () => ({}),
    limits: { connectionTimeoutMs: 200, handlerTimeoutMs: 200 },
  })
  closing.push(() => app.close())
  const opened = new Promise<Pick<Opened, 'stream' | 'closed' | 'kept'>>((resolve) => {
    app.get('/stream', async (request, reply) => {
      let tell: (reason: string) => void = () => undefined
      const closed = new Promise<string>((done) => (tell = done))
      const stream = openEventStream(request, reply, {
        heartbeatMs: 1_000,
        stuckMsMax: 30_000,
        retryMs: 100,
        onClose: tell,
        ...options,
      })
      resolve({ stream, closed, kept: () => reply.raw.writableLength })
    })
  })
  const address = await listen(app, { host: '127.0.0.1', port: 0, variable: 'TEST' })
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = get(`${address}/stream`, { agent: false }, resolve).on('error', reject)
    closing.push(() => request.destroy())
  })
  response.on('error', () => undefined)
  return { ...(await opened), response, metrics: () => telemetry.text() }
}

/** More than what the kernel keeps for a connection on loopback. */
const large = 'x'.repeat(1_000_000)

describe('an event stream', () => {
  it('outlives the limits that other answers have, by its heartbeats', async () => {
    const { response, closed } = await open({ heartbeatMs: 600 })
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) {
      text += String(chunk)
      if (text.includes('heartbeat')) break
    }
    expect(text).toBe('retry: 100\n\n: heartbeat\n\n')
    expect(await closed).toBe('closed')
  })

  it('keeps the latest state for a client that does not read, and never a queue', async () => {
    const { stream, response, kept } = await open()
    response.pause()
    for (let i = 1; i <= 200; i += 1) {
      stream.send({ event: 'state', id: String(i), data: { i, large } })
      await new Promise((resolve) => setImmediate(resolve))
      expect(kept()).toBeLessThan(2 * large.length)
    }
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) {
      text += String(chunk)
      if (text.includes('"i":200') && text.endsWith('\n\n')) break
    }
    const got = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
    expect(got.at(-1)).toBe(200)
    expect(got.length).toBeLessThan(100)
    expect(got).toEqual([...got].sort((a, b) => a - b))
  })

  it('is cut off when its client has read nothing for too long', async () => {
    const { stream, response, closed } = await open({ stuckMsMax: 50 })
    response.pause()
    for (let i = 1; i <= 50; i += 1) {
      stream.send({ event: 'state', data: large })
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await closed).toBe('stuck')
  })

  it('ends in order, also where its client does not read', async () => {
    const reading = await open()
    const ended = once(reading.response.resume(), 'end')
    reading.stream.end()
    await ended
    expect(reading.response.complete).toBe(true)
    expect(await reading.closed).toBe('closed')

    const stuck = await open()
    stuck.response.pause()
    for (let i = 1; i <= 50; i += 1) {
      stuck.stream.send({ event: 'state', data: large })
      await new Promise((resolve) => setImmediate(resolve))
    }
    stuck.stream.end()
    expect(await stuck.closed).toBe('closed')
  })

  it('is no part of the times of requests', async () => {
    const { stream, response, closed, metrics } = await open()
    response.resume()
    stream.end()
    await closed
    expect((await metrics()).includes('route="/stream"')).toBe(false)
  })
})
