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
    positions.note([at(0, 7), at(0, 200)])
    await until('told', async () => (await resetPartitions()).join() === '0')
    expect(await telemetry.text()).toContain('likewise_outbox_topic_resets_total 1')
    await until('the new position', async () => (await written())[0] === 201)
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

  it('knows of a partition that it gets later where others had come to since it was started', async () => {
    const [one, two] = [watch(), watch()]
    one.note([at(0, 400), at(1, 10)])
    await until('written', async () => (await written())[0] === 401)
    await pause(100)
    one.note([at(0, 90_000), at(1, 700)])
    await until('written', async () => (await written())[0] === 90_001)
    await pause(100)
    // Behind where it was when the second one was started; before where it was when that one gets it.
    two.note([at(0, 500), at(1, 701)])
    await until('told', async () => (await resetPartitions()).join() === '0')
    expect(await written()).toEqual({ 0: 501, 1: 702 })
  })

  it('a database that is away at the start does not leave it ignorant of what was seen before', async () => {
    const first = watch()
    first.note([at(3, 500), at(4, 80)])
    await first.stop()
    const relay = test.as('likewise_relay')
    await test.db.execute(sql`revoke all on catalog.outbox_positions from likewise_relay`)
    const telemetry = buildTelemetry('test')
    const second = watchPositions({ db: relay, log, telemetry, everyMs: 20 })
    watches.push(second)
    await pause(100)
    second.note([at(3, 12)])
    second.note([at(3, 13), at(4, 81)])
    await test.db.execute(sql`grant select, insert, update on catalog.outbox_positions to likewise_relay`)
    await until('told', async () => (await resetPartitions()).join() === '3')
    expect(await telemetry.text()).toContain('likewise_outbox_topic_resets_total 1')
    expect(await written()).toEqual({ 3: 14, 4: 82 })
  })

  it('a database that comes back only after another relay went on is no topic that was made anew', async () => {
    await test.db.execute(sql`revoke all on catalog.outbox_positions from likewise_relay`)
    const late = watchPositions({ db: test.as('likewise_relay'), log, telemetry: buildTelemetry('test'), everyMs: 20 }) // prettier-ignore
    const other = watch()
    watches.push(late)
    late.note([at(0, 20)])
    await pause(20)
    other.note([at(0, 300)])
    await until('written', async () => (await written())[0] === 301)
    await test.db.execute(sql`grant select, insert, update on catalog.outbox_positions to likewise_relay`)
    await pause(100)
    late.note([at(0, 400)])
    await until('written', async () => (await written())[0] === 401)
    expect(await resetPartitions()).toEqual([])
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

  it('that another relay has told is not told again by one that knew the old topic, republished or not', async () => {
    const telemetry = buildTelemetry('test')
    const [one, two] = [watch(telemetry), watch()]
    one.note([at(0, 400)])
    await until('written', async () => (await written())[0] === 401)
    two.note([at(0, 450)])
    await until('written', async () => (await written())[0] === 451)
    await pause(50)
    two.note([at(0, 3)])
    await until('told', async () => (await resetPartitions()).join() === '0')
    await republish(test.db, { actor: 'test' })
    // The shard comes back to the first one, and is not known to it by anything but the database.
    one.note([at(0, 5)])
    await until('the new position', async () => (await written())[0] === 6)
    await pause(100)
    one.note([at(0, 7)])
    await until('the new position', async () => (await written())[0] === 8)
    expect(await resetPartitions()).toEqual([])
    expect(await telemetry.text()).toContain('likewise_outbox_topic_resets_total 0')
  })

  it('is not hidden by what another relay had seen before, and writes down later', async () => {
    const [quick, slow] = [watch(), watchPositions({ db: test.db, log, telemetry: buildTelemetry('test'), everyMs: 500 })] // prettier-ignore
    watches.push(slow)
    quick.note([at(0, 400)])
    await until('written', async () => (await written())[0] === 401)
    await pause(100)
    slow.note([at(0, 460)])
    quick.note([at(0, 3)])
    await until('told', async () => (await resetPartitions()).join() === '0')
    await slow.stop()
    expect(await written()).toEqual({ 0: 4 })
  })
})
