import { sql } from '@likewise/database'
import { faultyLink, openTx, readWaiting } from '@likewise/database/testing'
import { readMarks, readRebuild } from '@likewise/inbox'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals'
import { type RebuildBed, openRebuildBed } from './rebuild-bed.ts'

// See libs/kafka/src/subscriber.int.spec.ts: kafkajs may wedge in silence while it joins a group.
jest.retryTimes(2, { logErrorsBeforeRetry: true })
jest.setTimeout(90_000)

let bed: RebuildBed
beforeAll(async () => {
  bed = await openRebuildBed('rebuild_switch', process.env)
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

const waiting = (event: string) => readWaiting(bed.db, { application: 'likewise-cli', event })

/** Handles so many likes, and makes the count of product 3 wrong. */
async function wrongAfter(count: number): Promise<void> {
  await bed.send(count)
  await bed.handle(count)
  await bed.db.execute(
    sql`update metrics.product_metrics set like_count = like_count + 7 where product_id = 3`,
  )
}

const lock = 1602
/** Who holds the lock keeps waiting whoever does this. */
async function keepWaiting(trigger: ReturnType<typeof sql>): Promise<void> {
  await bed.db.execute(sql`
    create or replace function metrics.held() returns trigger language plpgsql as $$
      begin perform pg_advisory_xact_lock(1602); return new; end $$`)
  await bed.db.execute(trigger)
}
async function holdLock() {
  const held = await openTx(bed.db)
  await held.tx.query(sql`select pg_advisory_xact_lock(${lock}::bigint)::text as locked`)
  return held
}

describe('while the live model stands still for the switch', () => {
  afterEach(() => bed.db.execute(sql`drop trigger if exists held on metrics.rebuild_ids`))

  it('somebody keeps its last step waiting: batches go on after three seconds, it says so, and it switches when it can (I6, I8)', async () => {
    await wrongAfter(300)
    bed.consume()
    // Of all steps those that are made meanwhile.
    await keepWaiting(sql`
      create trigger held before insert on metrics.rebuild_ids for each row when (new.unsure) execute function metrics.held()`)
    const held = await holdLock()
    let sent = 300
    const switched = bed.run('rebuild', '--switch')
    try {
      for (let round = 0; round < 2; round += 1) {
        await bed.send(20)
        sent += 20
        await bed.until('a step waits', async () => (await waiting('advisory')).length > 0)
        const sinceMs = performance.now()
        await bed.send(20)
        sent += 20
        await bed.until('what came meanwhile is handled', () => bed.handledAll(sent))
        // After ten seconds it would be ended, whoever sleeps in it.
        expect(performance.now() - sinceMs).toBeLessThan(8_000)
      }
    } finally {
      await held.rollback()
    }
    const text = await switched
    expect(text).toMatch(/ {2}waits: .*(busy|within 3 s)/)
    expect(text).toContain('Switched: the live model is what was rebuilt.')
    await bed.until('all is counted', async () => (await bed.total()) >= sent)
    expect([await bed.total(), await bed.inWindows()]).toEqual([sent, sent])
  })

  it('a redrive holds one partition for long: those of the others wait for three seconds at most (I6, I8, I9)', async () => {
    await wrongAfter(300)
    const marks = await readMarks(bed.db, bed.consumer, bed.topic)
    const markOf = (partition = 0) => sql`
      select 1 as locked from metrics.consumer_offsets
      where consumer = ${bed.consumer} and partition = ${partition}::int for update`
    const redrive = await openTx(bed.db)
    await redrive.tx.query(markOf(marks.at(-1)?.partition))
    const switched = bed.run('rebuild', '--switch')
    try {
      await bed.until('it waits for the mark', async () => (await waiting('transactionid')).length > 0)
      let isHad = false
      const batch = bed.db.query(markOf(marks[0]?.partition)).then(() => (isHad = true))
      await bed.until('a batch of another partition has its mark', async () => isHad)
      await batch
    } finally {
      await redrive.rollback()
    }
    const text = await switched
    expect(text).toContain(`  waits: A partition of ${bed.consumer} is held for longer than 3 s`)
    expect(text).toContain('Switched: the live model is what was rebuilt.')
    expect([await bed.total(), await bed.inWindows()]).toEqual([300, 300])
  })
})

describe('a switch whose connection is lost at its COMMIT', () => {
  beforeEach(() =>
    keepWaiting(sql`
      create constraint trigger held after delete on metrics.rebuilds deferrable initially deferred
      for each row execute function metrics.held()`),
  )
  afterEach(() => bed.db.execute(sql`drop trigger held on metrics.rebuilds`))

  const audits = async () =>
    (
      await bed.db.query<{ detail: string }>(sql`
        select detail from metrics.inbox_audit where consumer = ${bed.consumer} and action = 'rebuild'`)
    ).length

  const lockWaits = async () => (await readWaiting(bed.db)).length

  /** Switches; `disturb` comes when its COMMIT is under way, and is held until then. */
  async function switchDuring(
    disturb: (about: { pid: number; letCommit: () => Promise<void> }) => Promise<void>,
  ): Promise<string> {
    await wrongAfter(200)
    const held = await holdLock()
    const switched = bed.run('rebuild', '--switch')
    await bed.until('it commits', async () => (await waiting('advisory')).length > 0)
    const [pid = 0] = await waiting('advisory')
    await disturb({ pid, letCommit: () => held.rollback() })
    return switched
  }

  it('and was made: it says so, and not that somebody took the rebuild over (I2, I3)', async () => {
    const direct = process.env['METRICS_DATABASE_URL'] ?? ''
    const link = await faultyLink(direct)
    process.env['METRICS_DATABASE_URL'] = link.url
    try {
      const text = await switchDuring(async ({ letCommit }) => {
        link.freeze()
        await letCommit()
        await bed.until('it is made', async () => (await readRebuild(bed.db)) === null)
        link.heal()
      })
      expect(text).toContain('  waits: ')
      expect(text).toMatch(/3 +17 +10 +-7/)
      expect(text).toContain('Switched: the live model is what was rebuilt.')
      expect([await bed.total(), await audits(), process.exitCode]).toEqual([200, 1, 0])
    } finally {
      process.env['METRICS_DATABASE_URL'] = direct
      await link.stop()
    }
  })

  it('and was rolled back: it switches, once (I2, I3)', async () => {
    const text = await switchDuring(async ({ pid, letCommit }) => {
      await bed.db.query(sql`select pg_terminate_backend(${pid}::int, 5000) as ended`)
      await letCommit()
    })
    expect(text).toContain('  waits: ')
    expect(text).toContain('Switched: the live model is what was rebuilt.')
    expect([await bed.total(), await audits(), await readRebuild(bed.db)]).toEqual([200, 1, null])
  })

  it('and was rolled back, and somebody gave the rebuild up before it could try again: it says that it was dropped', async () => {
    const switched = switchDuring(async ({ pid, letCommit }) => {
      const drop = await openTx(bed.db)
      const dropping = drop.tx.execute(sql`delete from metrics.rebuilds`)
      await bed.until('it is next', async () => (await lockWaits()) === 2)
      await bed.db.query(sql`select pg_terminate_backend(${pid}::int, 5000) as ended`)
      await dropping
      await letCommit()
      await drop.commit()
    })
    await expect(switched).rejects.toThrow('or it was dropped')
    expect([await bed.total(), await audits()]).toEqual([207, 0])
  })
})
