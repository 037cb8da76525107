import { stopServerForAWhile } from '@likewise/local-servers'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { brokerOutage } from './demo/broker-outage.ts'
import { type DemoContext, type StopKafka, openContext } from './demo/context.ts'
import { duplicates } from './demo/duplicates.ts'
import { scaleOut } from './demo/scale-out.ts'
import { readCounts, settled } from './invariants.ts'
import { type System, startSystem } from './system.ts'
import { readUsers, usersOfServices } from './users.ts'

let system: System
let context: DemoContext
let close: () => Promise<void>

/** A process is held down, or the stack's supervisor would start it again; a container is just stopped. */
const stopKafka: StopKafka = async () => {
  const { kafka } = system.stack.servers
  if (kafka === undefined || kafka.pid !== undefined) return stopServerForAWhile(system.home, 'kafka')
  await kafka.stop()
  return () => kafka.start()
}

beforeAll(async () => {
  system = await startSystem()
  const { servers } = system.stack
  const [first = '', ...others] = system.apis
  ;({ context, close } = openContext({
    likeApis: [first, ...others],
    metricsApi: system.metricsApi,
    stopKafka,
    narrate: { open: () => undefined, step: () => undefined },
    signal: new AbortController().signal,
    catalogDatabaseUrl: servers.catalogDatabaseUrl,
    metricsDatabaseUrl: servers.metricsDatabaseUrl,
    kafkaBrokers: servers.kafkaBrokers,
    env: process.env,
  }))
}, 180_000)
afterAll(async () => {
  await close()
  await system.stop()
}, 60_000)

describe('the three stories of npm run demo', () => {
  it('counts 10 likes that are spread over two API servers as 10; the in-process bus shows 5', async () => {
    expect(await scaleOut(context)).toMatchObject({ kind: 'told', holds: true })
  }, 60_000)

  it('counts a record that reaches Kafka three times once; counting every delivery shows 3', async () => {
    expect(await duplicates(context)).toMatchObject({ kind: 'told', holds: true })
  }, 60_000)

  it('takes likes while Kafka is stopped, shows them FAILED with attempts, and counts each once when it returns', async () => {
    expect(await brokerOutage(context)).toMatchObject({ kind: 'told', holds: true })
  }, 120_000)

  it('are told by services that are users of their own, and of no more than one role each', async () => {
    // A connection that nobody uses for ten seconds is closed; readiness asks PostgreSQL.
    for (const api of system.apis) expect((await fetch(`${api}/readyz`)).status).toBe(200)
    expect(await readUsers(system.catalog)).toEqual(usersOfServices)
  })

  it('leaves both sides in agreement (I1, I2, I3)', async () => {
    expect(await readCounts(system)).toEqual(settled)
  })
})
