import { sql } from '@likewise/database'
import { openTx } from '@likewise/database/testing'
import { readMarks, readRebuild } from '@likewise/inbox'
import { readTopicEnds } from '@likewise/kafka'
import { cutLog } from '@likewise/kafka/testing'
import { rollUp } from '@likewise/metrics'
import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals'
import { type RebuildBed, openRebuildBed } from './rebuild-bed.ts'
import { openSource } from './rebuild-source.ts'
import { readRebuildStatus } from './status.ts'

// See libs/kafka/src/subscriber.int.spec.ts: kafkajs may wedge in silence while it joins a group.
jest.retryTimes(2, { logErrorsBeforeRetry: true })
jest.setTimeout(90_000)

let bed: RebuildBed
beforeAll(async () => {
  bed = await openRebuildBed('rebuild', process.env)
})
afterAll(() => bed.close())
beforeEach(async () => {
  process.exitCode = 0
  await bed.fresh()
})
afterEach(async () => {
  await bed.leave()
  process.exitCode = 0
})

describe('likewise rebuild', () => {
  it('rebuilds beside the live model, says that both are the same, and keeps the rebuilt one until it is dropped', async () => {
    await bed.send(500)
    await bed.handle(500)
    const text = await bed.run('rebuild')
    expect(text).toContain(
      `Rebuilds the read model of ${bed.consumer} from the beginning of ${bed.topic}, beside the live one.`,
    )
    expect(text).toContain('100 %  500 of 500 records')
    expect(text).toContain('500 events counted, 0 copies passed over.\nBoth models say the same.')
    expect(text).toContain('likewise rebuild --switch')
    expect(await bed.run('rebuild')).toContain('Goes on with the rebuild')
    expect(await bed.run('rebuild', '--drop')).toContain('is given up; the live model is as it was')
    await expect(bed.run('rebuild', '--drop')).rejects.toThrow('There is no rebuild to give up.')
    expect(process.exitCode).toBe(0)
  })

  it('says what differs and exits with 1, and switches', async () => {
    await bed.send(100, 4)
    await bed.handle(100)
    await bed.db.execute(sql`update metrics.product_metrics set like_count = 30 where product_id = 2`)
    const text = await bed.run('rebuild')
    expect(text).toContain('1 product differs:')
    expect(text).toMatch(/ 2 +30 +25 +-5/)
    expect(process.exitCode).toBe(1)
    process.exitCode = 0
    expect(await bed.run('rebuild', '--switch')).toContain('Switched: the live model is what was rebuilt.')
    expect(process.exitCode).toBe(0)
    expect(await bed.total()).toBe(100)
    expect(await readRebuild(bed.db)).toBeNull()
  })

  it('switches while events flow: nothing is lost, nothing counted twice (I2, I3)', async () => {
    await bed.send(3_000)
    bed.consume()
    await bed.until('it is in the middle of it', () => bed.handledAll(1_000))
    await bed.db.execute(sql`
      update metrics.product_metrics set like_count = like_count + 7
      where product_id = (select min(product_id) from metrics.product_metrics)`)
    const over = new AbortController()
    let flowed = 0
    const flow = async () => {
      while (!over.signal.aborted) {
        const more = bed.likes(50)
        // as a relay that was killed repeats a page
        await bed.publish([...more, ...more.slice(0, 10)])
        flowed += 50
      }
    }
    const flowing = flow()
    const rolling = (async () => {
      while (!over.signal.aborted) {
        await rollUp(bed.db, { minutesKeptHours: 48, hoursKeptDays: 90 })
        await pause(5)
      }
    })()
    const texts = [await bed.run('rebuild', '--switch'), await bed.run('rebuild', '--switch')]
    over.abort()
    await Promise.all([flowing, rolling])
    expect(texts[0]).toContain('Switched: the live model is what was rebuilt.')
    expect(texts[1]).toContain('Switched: nothing had to be changed.')
    expect(flowed).toBeGreaterThan(100)
    const wanted = 3_000 + flowed
    await bed.until('all is counted', async () => (await bed.total()) >= wanted)
    await pause(300)
    expect([await bed.total(), await bed.inWindows()]).toEqual([wanted, wanted])
    await bed.leave()
    expect(await bed.run('rebuild')).toContain('Both models say the same.')
  })

  it('refuses a second one while one is under way, in a sentence', async () => {
    await bed.send(200)
    await bed.handle(200)
    const held = await openTx(bed.db)
    await held.tx.query(
      sql`select 1 as locked from metrics.consumer_offsets where consumer = ${bed.consumer} for update`,
    )
    const first = bed.run('rebuild')
    await bed.until('the first one is at it', async () => (await readRebuild(bed.db))?.isHeld === true)
    await expect(bed.run('rebuild', '--switch')).rejects.toThrow(/A rebuild is under way: .* works on it, since 20.*likewise rebuild --drop/) // prettier-ignore
    await expect(bed.run('rebuild', '--drop')).rejects.toThrow('A rebuild is under way')
    await held.rollback()
    expect(await first).toContain('Both models say the same.')
  })

  it('is told by likewise status: how far it is while somebody works on it, and that it was left', async () => {
    expect(await readRebuildStatus(bed.db)).toBeNull()
    await bed.send(200)
    await bed.handle(200)
    const held = await openTx(bed.db)
    await held.tx.query(
      sql`select 1 as locked from metrics.consumer_offsets where consumer = ${bed.consumer} for update`,
    )
    const first = bed.run('rebuild', '--by', 'somebody')
    await bed.until('it is at it', async () => (await readRebuild(bed.db))?.isHeld === true)
    const status = {
      consumer: bed.consumer,
      topic: bed.topic,
      owner: 'somebody',
      snapshotId: null,
      total: 200,
    }
    expect(await readRebuildStatus(bed.db)).toMatchObject({ ...status, isUnderWay: true, done: 0 })
    await held.rollback()
    await first
    await bed.send(10)
    await bed.handle(210)
    const left = { ...status, isUnderWay: false, done: 200, total: 210 }
    expect(await readRebuildStatus(bed.db)).toMatchObject(left)
    await bed.run('rebuild', '--drop')
    expect(await readRebuildStatus(bed.db)).toBeNull()
  })

  it('goes on where a killed one was, once its lease has run out, and comes to the same', async () => {
    await bed.send(400)
    await bed.handle(400)
    await bed.run('rebuild')
    // what is left of a process that was killed in the middle of it
    await bed.db.execute(sql`
      update metrics.rebuilds set lease_until = clock_timestamp() + interval '2 seconds', owner = gen_random_uuid()`)
    await bed.send(100)
    await bed.handle(500)
    const text = await bed.run('rebuild')
    expect(text).toContain('Waits for the process of')
    expect(text).toContain('500 of 500 records')
    expect(text).toContain('500 events counted, 0 copies passed over.\nBoth models say the same.')
  })

  it('stops at a signal after the step in hand, and goes on', async () => {
    await bed.send(300)
    await bed.handle(300)
    const held = await openTx(bed.db)
    await held.tx.query(
      sql`select 1 as locked from metrics.consumer_offsets where consumer = ${bed.consumer} for update`,
    )
    const stopped = bed.run('rebuild', '--switch')
    await bed.until('it stands before the switch', async () => (await readRebuild(bed.db))?.isHeld === true)
    process.emit('SIGINT')
    await held.rollback()
    expect(await stopped).toContain('the live model is as it was. likewise rebuild goes on')
    expect(process.exitCode).toBe(130)
    expect(await readRebuild(bed.db)).toMatchObject({ isHeld: false })
    expect(await bed.run('rebuild', '--switch')).toContain('Switched')
  })
})

describe('a topic that no longer holds its beginning', () => {
  it('is refused without a snapshot, and works with one', async () => {
    await bed.send(300)
    await bed.handle(300)
    expect(await bed.run('snapshot')).toMatch(/Snapshot \d+: 20 products, .* 300 ids, after 300 records/)
    await bed.send(200)
    await bed.handle(500)
    const marks = await readMarks(bed.db, bed.consumer, bed.topic)
    const cut = marks.map(({ partition }) => ({ partition, offset: '10' }))
    await cutLog(bed.kafka, bed.topic, cut)
    await expect(bed.run('rebuild')).rejects.toThrow(/begins at offset 10: the topic no longer holds its beginning.*--snapshot <id>/) // prettier-ignore
    expect(await readRebuild(bed.db)).toBeNull()
    await bed.db.execute(sql`update metrics.product_metrics set like_count = 0`)
    const text = await bed.run('rebuild', '--switch', '--snapshot', 'latest')
    expect(text).toContain('200 of 200 records')
    expect([await bed.total(), await bed.inWindows()]).toEqual([500, 500])
    await expect(bed.run('rebuild', '--snapshot', '999')).rejects.toThrow('There is no snapshot 999')
  })

  it('is refused with a snapshot that is older than what it holds', async () => {
    await bed.send(100)
    await bed.handle(100)
    await bed.run('snapshot')
    await bed.send(200)
    await bed.handle(300)
    const marks = await readMarks(bed.db, bed.consumer, bed.topic)
    await cutLog(bed.kafka, bed.topic, marks.map(({ partition, nextOffset }) => ({ partition, offset: String(nextOffset) }))) // prettier-ignore
    await expect(bed.run('rebuild', '--snapshot', 'latest')).rejects.toThrow('what lay between is gone')
  })
})

describe('a topic that loses records while a rebuild reads', () => {
  it('ends the rebuild before it has passed over them', async () => {
    await bed.send(300)
    const partitions = (await readTopicEnds(bed.kafka, bed.topic)).map(({ partition }) => partition)
    await cutLog(bed.kafka, bed.topic, partitions.map((partition) => ({ partition, offset: '10' }))) // prettier-ignore
    const stands = partitions.map((partition) => ({
      partition,
      nextOffset: 5n,
      baseOffset: 0n,
      lastEventId: null,
    }))
    const source = openSource(bed.kafka, bed, stands)
    const isTold = () => {
      try {
        source.check()
        return false
      } catch {
        return true
      }
    }
    await bed.until('it is told', async () => isTold())
    expect(source.check).toThrow(/begins at offset 10, after 5, .* what lay between is gone/)
    await source.stop()
  })
})

describe('a topic that was made again', () => {
  it('is refused: what was counted before is not on it', async () => {
    await bed.send(50)
    await bed.handle(50)
    await bed.db.execute(sql`update metrics.consumer_offsets set replaced_at = now() where partition = 0`)
    await expect(bed.run('rebuild')).rejects.toThrow('was made again')
  })

  it('is refused also where that was seen after the rebuild had begun', async () => {
    await bed.send(50)
    await bed.handle(50)
    await bed.run('rebuild')
    await bed.db.execute(sql`update metrics.consumer_offsets set replaced_at = now() where partition = 0`)
    await expect(bed.run('rebuild', '--switch')).rejects.toThrow(
      /was made again .* after what the rebuild began with/,
    )
  })

  it('is refused where it ends before what was reached', async () => {
    await bed.send(50)
    await bed.handle(50)
    await bed.db.execute(sql`update metrics.consumer_offsets set next_offset = 1000 where partition = 0`)
    await expect(bed.run('rebuild')).rejects.toThrow('before 1000, which the consumer has reached')
  })

  it('is told from the one of the rebuild by the record before', async () => {
    await bed.send(50)
    await bed.handle(50)
    await bed.run('rebuild')
    await bed.db.execute(sql`update metrics.rebuild_offsets set last_event_id = uuidv7()`)
    await bed.send(50)
    await bed.handle(100)
    await expect(bed.run('rebuild')).rejects.toThrow('the topic was made again')
  })
})

describe('likewise snapshot', () => {
  it('keeps the newest, lists and deletes', async () => {
    await expect(bed.run('snapshot')).rejects.toThrow('has handled nothing')
    await bed.send(30)
    await bed.handle(30)
    for (let i = 0; i < 2; i += 1) await bed.run('snapshot')
    expect(await bed.run('snapshot', '--keep', '2')).toMatch(/Snapshot \d+ is deleted: 2 are kept/)
    const listed = JSON.parse(await bed.run('snapshot', 'list', '--json')) as { id: number }[]
    expect(listed).toMatchObject([{ products: 20, ids: 30, records: 30 }, { products: 20 }])
    expect((await bed.run('snapshot', 'list')).split('\n')).toHaveLength(3)
    await bed.run('snapshot', 'delete', String(listed[0]?.id))
    await expect(bed.run('snapshot', 'delete', String(listed[0]?.id))).rejects.toThrow('There is no snapshot')
    expect((await bed.run('snapshot', 'list')).split('\n')).toHaveLength(2)
    const [rows] = await bed.db.query<{ n: number }>(
      sql`select count(*)::int as n from metrics.snapshot_counts`,
    )
    expect(rows?.n).toBe(1)
  })
})

describe('likewise replay', () => {
  const letters = async () =>
    (await bed.db.query(sql`select 1 as one from metrics.dead_letters where consumer = ${bed.consumer}`))
      .length

  it('changes nothing where nothing is missing, and parks nothing twice', async () => {
    await bed.send(200)
    await bed.publish(bed.likes(6, 3, '{"userId":'))
    await bed.send(60)
    await bed.handle(266)
    const before = [await bed.total(), await bed.inWindows(), await letters()]
    await bed.run('rebuild')
    const parked = await letters()
    expect(parked).toBeGreaterThanOrEqual(6)
    const text = await bed.run('replay', '--from', '2020-01-01T00:00:00Z')
    expect(text).toContain('Nothing was missing.')
    expect(text).toContain(`${String(parked)} have a dead letter, which decides: left alone`)
    expect(await bed.run('replay', '--to', '2020-01-01T00:00:00Z')).toContain('0 had their effect before')
    expect([await bed.total(), await bed.inWindows(), await letters()]).toEqual(before)
    await expect(bed.run('replay')).rejects.toThrow('Say which records')
  })

  it('applies what lost its effect and its id, of one key, and rehearses that', async () => {
    await bed.send(100, 4)
    await bed.handle(100)
    await bed.db.execute(sql`delete from metrics.product_metrics where product_id = 3`)
    await bed.db.execute(sql`delete from metrics.product_like_windows where product_id = 3`)
    await bed.db.execute(sql`delete from metrics.event_handled where aggregate_id = '3'`)
    expect(await bed.run('replay', '--key', '3', '--dry-run')).toContain('25 would have their effect now')
    expect(await bed.total()).toBe(75)
    expect(await bed.run('replay', '--key', '3')).toContain('25 have their effect now')
    expect([await bed.total(), await bed.inWindows()]).toEqual([100, 100])
    expect(JSON.parse(await bed.run('replay', '--key', '3', '--json'))).toMatchObject({
      applied: 0,
      hadEffect: 25,
    })
  })

  it('parks what cannot be read and lost its dead letter, once, and what is missing behind it', async () => {
    await bed.publish(bed.likes(1, 1, '{"userId":'))
    await bed.send(2, 1)
    await bed.handle(3)
    await bed.db.execute(sql`delete from metrics.dead_letters`)
    expect(await bed.run('rebuild')).toContain('1 record cannot be read and has no dead letter')
    process.exitCode = 0
    expect(await bed.run('replay', '--key', '1')).toContain('3 have a dead letter now')
    expect(await bed.run('replay', '--key', '1')).toContain('3 have a dead letter, which decides')
    expect(await letters()).toBe(3)
  })
})
