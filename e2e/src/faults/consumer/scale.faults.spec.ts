import type { RunningService } from '@likewise/local-servers'
import { pause } from '@likewise/service'
import { afterEach, beforeEach, expect, it } from '@jest/globals'
import { kill, leave } from '../bed.ts'
import { ownKafka } from '../own-servers.ts'
import { terminate } from '../table-lock.ts'
import { type ConsumerBed, makeConsumerBed } from './bed.ts'
import { exact } from './effects.ts'
import { likeRecord, startTopicLoad } from './load.ts'

let broker: Awaited<ReturnType<typeof ownKafka>>
let bed: ConsumerBed
beforeEach(async () => {
  broker = await ownKafka()
  bed = await makeConsumerBed({ kafkaBrokers: broker.server.brokers })
}, 120_000)
afterEach(async () => {
  await bed.stop()
  await broker.remove()
}, 60_000)

const replicasMax = 6

it('1 → 6 → 1 replicas under load, with kills, stops, cut connections, a broker that restarts and a bad record: each event has its effect once and in order, only its key waits for the bad one (I2, I3, I4, I6, I8, I9, I10)', async () => {
  const running: RunningService[] = [await bed.consumer()]
  const oldest = (): RunningService => {
    const [first] = running
    if (first === undefined) throw new Error('No consumer is left.')
    return first
  }
  const load = startTopicLoad(bed.publisher, { keys: 40 })
  while (running.length < replicasMax) {
    running.push(await bed.consumer())
    await pause(2_000)
    await terminate(bed.db, 'metrics-consumer')
  }

  // At six: one is killed, one stands still past its session, the broker restarts, and a record of a product of its own is bad.
  const [killed, sleeper] = [running.pop(), running.at(-1)]
  if (killed === undefined || sleeper === undefined) throw new Error('There are not so many.')
  await bed.publisher.publish([{ ...likeRecord(1, 1_000), value: '{' }])
  await kill(killed)
  process.kill(sleeper.process.pid, 'SIGSTOP')
  await pause(15_000)
  process.kill(sleeper.process.pid, 'SIGCONT')
  await broker.server.kill()
  await broker.server.start()
  running.push(await bed.consumer())
  await pause(5_000)

  // And down: every other one leaves as by a deployment, every other one is killed.
  for (let round = 0; running.length > 1; round += 1) {
    const one = oldest()
    running.shift()
    await (round % 2 === 0 ? leave(one) : kill(one))
    await pause(3_000)
  }
  await pause(3_000)
  const events = await load.stop()
  expect(await bed.effects(180_000)).toMatchObject({
    ...exact,
    ...{ events, handled: events, parked: ['not_json 1'] },
  })
  expect(await bed.peakBytes()).toBeLessThanOrEqual(200_000_000)
}, 600_000)
