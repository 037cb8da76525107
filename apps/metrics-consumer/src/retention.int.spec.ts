import { randomUUID } from 'node:crypto'
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'
import { ensureTopics, removeTopics } from '@likewise/kafka'
import { buildLogger, parseBrokers, pause } from '@likewise/service'
import { afterAll, beforeAll, expect, it } from '@jest/globals'
import { checkRetention } from './retention.ts'

const brokers = parseBrokers(process.env['KAFKA_BROKERS'] ?? '')
const topic = `test-${randomUUID()}`
const lines: { level: string; msg: string }[] = []
const log = buildLogger(
  { service: 'test', level: 'info' },
  { write: (line) => void lines.push(JSON.parse(line) as (typeof lines)[number]) },
)
const kafka = { brokers, clientId: 'test', requestTimeoutMs: 5_000, log }

beforeAll(() =>
  ensureTopics(kafka, [{ topic, partitions: 1, replicationFactor: 1, retentionMs: 40 * 86_400_000 }]),
)
afterAll(() => removeTopics(kafka, [topic]))

const listen = (server: Server, port = 0): Promise<Server> =>
  new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)))

it('a broker that is away at the start only delays the warning, which comes once', async () => {
  const reserved = await listen(createServer())
  const { port } = reserved.address() as AddressInfo
  await new Promise((resolve) => reserved.close(resolve))
  const stop = checkRetention({
    kafka: { ...kafka, brokers: [`127.0.0.1:${String(port)}`] },
    topic,
    horizonDays: 30,
    log,
  })
  await pause(300)
  expect(lines).toEqual([])
  const [host = '', brokerPort = ''] = brokers[0]?.split(':') ?? []
  const proxy = await listen(
    createServer((client) => {
      const upstream = connect(Number(brokerPort), host)
      client.on('error', () => upstream.destroy()).pipe(upstream)
      upstream.on('error', () => client.destroy()).pipe(client)
    }),
    port,
  )
  while (lines.length === 0) await pause(20)
  await stop()
  await new Promise((resolve) => proxy.close(resolve))
  expect(lines).toMatchObject([
    { level: 'warn', msg: expect.stringContaining('keeps records for 40.0 days') },
  ])
}, 30_000)

it('a stop does not wait for a broker that is away', async () => {
  const stop = checkRetention({ kafka: { ...kafka, brokers: ['127.0.0.1:1'] }, topic, horizonDays: 30, log })
  await stop()
})

it('a stop does not wait for a broker that takes the connection and says nothing', async () => {
  const clients = new Set<Socket>()
  const silent = await listen(createServer((client) => void clients.add(client)))
  const { port } = silent.address() as AddressInfo
  const asked = { ...kafka, brokers: [`127.0.0.1:${String(port)}`], requestTimeoutMs: 20_000 }
  const stop = checkRetention({ kafka: asked, topic, horizonDays: 30, log })
  while (clients.size === 0) await pause(20)
  await stop()
  for (const client of clients) client.destroy()
  await new Promise((resolve) => silent.close(resolve))
})
