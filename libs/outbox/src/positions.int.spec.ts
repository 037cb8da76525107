import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { type Telemetry, buildTelemetry, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { readResets, watchPositions } from './positions.ts'
import { republish } from './rewind.ts'
import { log, until } from './testing.ts'

let test: TestDatabase
let watches: { stop: () => Promise<void> }[]

beforeEach(async () => {
  test = await freshDatabase('positions')
  watches = []
})
afterEach(async () => {
  await Promise.all(watches.map((watch) => watch.stop()))
  await test.drop()
})

function watch(telemetry: Telemetry = buildTelemetry('test')) {
  const positions = watchPositions({ db: test.db, log, telemetry, everyMs: 20 })
  watches.push(positions)
  return positions
}
const at = (partition: number, offset: number) => ({ topic: 'likes', partition, baseOffset: BigInt(offset) })
const written = async (): Promise<Record<string, number>> => {
  const rows = await test.db.query<{ partition: number; next: bigint }>(
    sql`select partition, next_offset as next from catalog.outbox_positions order by partition`,
  )
  return Object.fromEntries(rows.map(({ partition, next }) => [partition, Number(next)]))
}
const resetPartitions = async () =>
  (await readResets(test.as('likewise_operator'))).map(({ partition }) => partition)

describe('watchPositions', () => {
  it('tells a topic that was made anew, once, until a republish has mended it', async () => {
    const telemetry = buildTelemetry('test')
    const positions = watch(telemetry)
    positions.note([at(0, 100), at(1, 50)])
    await until('written', async () => (await written())[0] === 101)
    await pause(50)
    positions.note([at(0, 0)])
    positions.note([at(0, 7)])
    await until('told', async () => (await resetPartitions()).join() === '0')
    expect(await telemetry.text()).toContain('likewise_outbox_topic_resets_total 1')
    await until('the new position', async () => (await written())[0] === 8)
    await republish(test.as('likewise_operator'), { actor: 'test' })
    expect(await resetPartitions()).toEqual([])
  })

  it('knows after a restart what it had seen before', async () => {
    const first = watch()
    first.note([at(3, 500)])
    await first.stop()
    expect(await written()).toEqual({ 3: 501 })
    const second = watch()
    await pause(100)
    second.note([at(3, 12)])
    await until('told', async () => (await resetPartitions()).join() === '3')
  })

  it('takes answers of the same moment in any order, and two relays in turn, for what they are', async () => {
    const [one, two] = [watch(), watch()]
    one.note([at(0, 20)])
    one.note([at(0, 10)])
    await until('written', async () => (await written())[0] === 21)
    two.note([at(0, 300)])
    await until('written', async () => (await written())[0] === 301)
    one.note([at(0, 400)])
    await until('written', async () => (await written())[0] === 401)
    expect(await resetPartitions()).toEqual([])
  })
})
