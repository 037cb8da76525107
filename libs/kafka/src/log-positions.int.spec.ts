import { buildLogger, parseBrokers } from '@likewise/service'
import { expect, it } from '@jest/globals'
import { buildLogPositions } from './log-positions.ts'

const options = {
  brokers: parseBrokers(process.env['KAFKA_BROKERS'] ?? ''),
  clientId: 'test',
  requestTimeoutMs: 10_000,
  log: buildLogger({ service: 'test', level: 'silent' }),
  ...{ topic: 'test-positions', groupId: 'test-positions' },
}

const openSockets = (): number =>
  process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length

it('a client that was stopped opens no connection for what is asked after that', async () => {
  const positions = buildLogPositions(options)
  await positions.stop()
  const before = openSockets()
  await expect(positions.read()).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE', retryable: true })
  expect(openSockets()).toBeLessThanOrEqual(before)
})
