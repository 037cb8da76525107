import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { sql } from '@likewise/database'
import { Failure } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { discard, listParked, redrive } from './parked.ts'
import { republish } from './rewind.ts'
import {
  type Publish,
  type TestRelay,
  type TestRelays,
  buildRelays,
  nameOf,
  parkedNames,
  statuses,
  takeAllShards,
  until,
  writeTogether,
} from './testing.ts'
import { resolveParked, settle } from './step.ts'
import { nextWindows } from './window.ts'

const actor = 'somebody@test'
let test: TestDatabase
let relays: TestRelays
/** Names the broker refuses; it refuses the whole page they are in. */
let refused: Set<string>

beforeEach(async () => {
  test = await freshDatabase('relay_parking')
  relays = buildRelays(test)
  refused = new Set()
})
afterEach(async () => {
  await relays.stop()
  expect(relays.bugs).toEqual([])
  await test.drop()
})

const broker: Publish = async (events) => {
  if (events.some((event) => refused.has(nameOf(event))))
    throw new Failure('EVENT_REFUSED', 'Kafka refuses: too large.')
}
const start = (publish = broker): TestRelay => relays.start({ publish, limits: { pageRowsMax: 8 } })
/** Events named `<key><number>`. */
const write = (names: readonly string[]): Promise<void> => writeTogether(test.db, names)

const statusOf = async (): Promise<Record<string, string>> =>
  Object.fromEntries((await statuses(test.db)).map(({ name, status }) => [name, status]))
const isQuiet = async () => Object.values(await statusOf()).every((status) => !/PENDING|FAILED/.test(status))
const quiet = () => until('nothing waits', isQuiet)
const nothingParked = () => until('nothing is parked', async () => (await parkedNames(test.db)).length === 0)
const idOf = async (name: string): Promise<string> => {
  const [row] = await test.db.query<{ id: string }>(
    sql`select id::text as id from catalog.outbox_events where payload->>'name' = ${name}`,
  )
  return row?.id ?? ''
}

describe('a refused event', () => {
  it('in a batch of good ones parks only itself, with its key behind it, and all other keys flow (I4, I9)', async () => {
    refused.add('b2')
    await write(['a1', 'b1', 'b2', 'a2', 'c1', 'b3', 'a3'])
    const relay = start()
    await quiet()
    expect(await statusOf()).toEqual({
      ...{ a1: 'PUBLISHED', a2: 'PUBLISHED', a3: 'PUBLISHED', c1: 'PUBLISHED' },
      ...{ b1: 'PUBLISHED', b2: 'PARKED', b3: 'PARKED' },
    })
    expect(await listParked(test.as('likewise_operator'), { limit: 10 })).toMatchObject([
      { partitionKey: 'b', reason: 'refused', attempts: 3, detail: 'Kafka refuses: too large.', mark: null },
      { partitionKey: 'b', reason: 'behind', attempts: 0 },
    ])
    // what comes later goes behind, also after the next relay has taken over
    await write(['b4', 'a4'])
    await quiet()
    await relay.stop()
    start()
    await write(['b5', 'a5'])
    await quiet()
    expect(await parkedNames(test.db)).toEqual(['b2', 'b3', 'b4', 'b5'])
    expect(relays.names('a')).toEqual(['a1', 'a2', 'a3', 'a4', 'a5'])
    expect(relays.names('b')).toEqual(['b1'])
  })

  it('goes out when it is redriven, and then what waited behind it, in order (I4)', async () => {
    refused.add('b1')
    await write(['b1', 'b2', 'b3'])
    start()
    await quiet()
    refused.clear()
    expect(
      await redrive(test.as('likewise_operator'), { selection: { partitionKey: 'b' }, actor }),
    ).toMatchObject([{ reason: 'refused', mark: 'redrive' }])
    await nothingParked()
    await write(['b4'])
    await quiet()
    expect(relays.names()).toEqual(['b1', 'b2', 'b3', 'b4'])
    expect(new Set(Object.values(await statusOf()))).toEqual(new Set(['PUBLISHED']))
  })

  it('that is refused again stays parked with its new attempt, and its key behind it', async () => {
    refused.add('b1')
    await write(['b1', 'b2'])
    start()
    await quiet()
    await redrive(test.as('likewise_operator'), { selection: { eventId: await idOf('b1') }, actor })
    await until(
      'tried again',
      async () => (await listParked(test.as('likewise_operator'), { limit: 1 }))[0]?.attempts === 4,
    )
    expect(await listParked(test.as('likewise_operator'), { limit: 9 })).toMatchObject([
      { reason: 'refused', attempts: 4, mark: null },
      { reason: 'behind', attempts: 0, mark: null },
    ])
    expect(relays.names()).toEqual([])
  })

  it('that is discarded is never sent, also not by a later turn, and its key flows again', async () => {
    refused.add('b1').add('b3')
    await write(['b1', 'b2', 'b3', 'b4'])
    start()
    await quiet()
    await discard(test.as('likewise_operator'), { selection: { eventId: await idOf('b1') }, actor })
    await until('b2 flows', () => relays.names().includes('b2'))
    await until('b3 is the head', async () => (await parkedNames(test.db)).join() === 'b3,b4')
    await discard(test.as('likewise_operator'), { selection: { partitionKey: 'b' }, actor })
    await nothingParked()
    await write(['b5'])
    await quiet()
    const discarded = { b1: 'DISCARDED', b2: 'PUBLISHED', b3: 'DISCARDED', b4: 'DISCARDED' }
    expect(relays.names()).toEqual(['b2', 'b5'])
    expect(await statusOf()).toMatchObject(discarded)
    // They come by once more, and by now the broker would take them.
    refused.clear()
    await republish(test.as('likewise_operator'), { actor })
    await until('the key came by again', () => relays.names().lastIndexOf('b5') > 1)
    await quiet()
    expect(relays.names()).toEqual(['b2', 'b5', 'b2', 'b5'])
    expect(await statusOf()).toMatchObject(discarded)
  })

  it('is redriven while new events of its key keep coming: none is lost, doubled or out of order (I4)', async () => {
    refused.add('b0000')
    const names = Array.from({ length: 400 }, (_, i) => `b${String(i).padStart(4, '0')}`)
    await write(names.slice(0, 30))
    start()
    await quiet()
    refused.clear()
    for (let i = 30; i < names.length; i += 10) {
      await write(names.slice(i, i + 10))
      if (i === 100) await redrive(test.as('likewise_operator'), { selection: { partitionKey: 'b' }, actor })
    }
    await nothingParked()
    await quiet()
    expect(relays.names()).toEqual(names)
  })

  it('whose redrive is cut off in the middle of its key goes on with the next relay', async () => {
    refused.add('b1')
    const names = Array.from({ length: 20 }, (_, i) => `b${String(i + 1)}`)
    await write(names)
    const first = start()
    await quiet()
    refused.clear()
    await first.stop()

    let pages = 0
    let hold = (): void => undefined
    const stuck = start(async (events) => {
      pages += 1
      if (pages === 2) await new Promise<void>((resolve) => (hold = resolve))
      await broker(events)
    })
    await redrive(test.as('likewise_operator'), { selection: { partitionKey: 'b' }, actor })
    await until('the first page of the key is out', () => pages === 2)
    const stopped = stuck.stop()
    hold()
    await stopped
    expect((await parkedNames(test.db)).length).toBe(4)
    start()
    await nothingParked()
    await quiet()
    expect(relays.names()).toEqual(names)
  })
})

describe('a discard', () => {
  it('that is asked for while the event is on its way once more is not forgotten when that is refused', async () => {
    refused.add('b1')
    await write(['b1', 'b2'])
    let meanwhile = async (): Promise<unknown> => undefined
    start(async (events) => {
      await meanwhile()
      await broker(events)
    })
    await quiet()
    meanwhile = () =>
      discard(test.as('likewise_operator'), { selection: { partitionKey: 'b' }, actor }).catch(
        () => undefined,
      )
    await redrive(test.as('likewise_operator'), { selection: { partitionKey: 'b' }, actor })
    await nothingParked()
    expect(await statusOf()).toEqual({ b1: 'DISCARDED', b2: 'DISCARDED' })
  })
})

describe('redrive and discard', () => {
  it('name the event that another one waits behind, and what is not there', async () => {
    refused.add('b1')
    await write(['b1', 'b2'])
    start()
    await quiet()
    const second = { selection: { eventId: await idOf('b2') }, actor }
    await expect(redrive(test.as('likewise_operator'), second)).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining(`only waits behind event ${await idOf('b1')} (key b)`) as unknown,
    })
    for (const action of [redrive, discard]) {
      await expect(action(test.db, { selection: { partitionKey: 'x' }, actor })).rejects.toMatchObject({
        code: 'NOT_FOUND',
        message: 'No event of key x is parked in the outbox.',
      })
    }
  })

  it('change nothing in a dry run, and otherwise write down who asked for what', async () => {
    refused.add('b1')
    await write(['b1', 'b2'])
    start()
    await quiet()
    const selection = { partitionKey: 'b' }
    expect(await redrive(test.as('likewise_operator'), { selection, actor, dryRun: true })).toHaveLength(1)
    expect(await discard(test.as('likewise_operator'), { selection, actor, dryRun: true })).toHaveLength(2)
    const audited = () =>
      test.db.query(sql`select actor, action, partition_key as key from catalog.outbox_audit order by id`)
    expect(await audited()).toEqual([])
    expect((await listParked(test.as('likewise_operator'), { limit: 9 })).map(({ mark }) => mark)).toEqual([
      null,
      null,
    ])
    await discard(test.as('likewise_operator'), { selection, actor })
    expect(await audited()).toEqual([
      { actor, action: 'discard', key: 'b' },
      { actor, action: 'discard', key: 'b' },
    ])
  })
})

describe('a delayed statement', () => {
  it('of a relay that lost its shard neither parks nor frees anything', async () => {
    await write(['b1', 'b2'])
    const owner = '00000000-0000-7000-8000-000000000001'
    const held = await takeAllShards(test.db, owner)
    const [window] = await nextWindows(test.as('likewise_relay'), owner, held)
    if (!window) throw new Error('no window')
    const epoch = held.find(({ shard }) => shard === window.shard)?.epoch ?? 0n
    const parked = [
      { seq: String(window.lastSeq), reason: 'refused' as const, detail: 'too large', attempts: 3 },
    ]
    await test.db.execute(sql`update catalog.outbox_leases set epoch = epoch + 1`)
    expect(
      await settle(test.as('likewise_relay'), { owner, epoch }, window, { afterSeq: window.lastSeq, parked }),
    ).toBeNull()
    expect(await parkedNames(test.db)).toEqual([])

    await test.db.execute(sql`update catalog.outbox_leases set epoch = epoch - 1`)
    const settled = await settle(test.as('likewise_relay'), { owner, epoch }, window, {
      afterSeq: window.lastSeq,
      parked,
    })
    expect(settled).not.toBeNull()
    expect(await parkedNames(test.db)).toEqual(['b2'])
    // the same step once more, from the cursor as it was before
    const moved = { redriven: parked.map(({ seq }) => seq), refused: [] }
    expect(await resolveParked(test.as('likewise_relay'), { owner, epoch }, window, moved)).toBeNull()
    expect(await parkedNames(test.db)).toEqual(['b2'])
  })
})
