import { sql } from '@likewise/database'
import { openTx, readWaiting } from '@likewise/database/testing'
import { discard, redrive } from '@likewise/inbox'
import { applyToProductMetrics } from '@likewise/metrics'
import { pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals'
import { type RebuildBed, openRebuildBed } from './rebuild-bed.ts'
import { horizon, recordOf } from './rebuild-testing.ts'

// See libs/kafka/src/subscriber.int.spec.ts: kafkajs may wedge in silence while it joins a group.
jest.retryTimes(2, { logErrorsBeforeRetry: true })
jest.setTimeout(90_000)

let bed: RebuildBed
beforeAll(async () => {
  bed = await openRebuildBed('rebuild_load', process.env)
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

describe('while a rebuild runs under load', () => {
  /** Keeps a step of the rebuild in the middle of its statement. */
  async function holdSteps() {
    const held = await openTx(bed.db)
    await held.tx.execute(sql`lock table metrics.rebuild_ids in share mode`)
    return held
  }
  const isWaiting = async () => (await readWaiting(bed.db, { application: 'likewise-cli' })).length > 0

  /** More and more likes, until it is stopped. @returns how many. */
  function flow(products = 20): () => Promise<number> {
    const over = new AbortController()
    const flowing = (async () => {
      let sent = 0
      for (; !over.signal.aborted; sent += 20) {
        await bed.send(20, products)
        await pause(20)
      }
      return sent
    })()
    return () => {
      over.abort()
      return flowing
    }
  }

  const countOf = async (product: number) =>
    (
      await bed.db.query<{ n: number }>(sql`
        select like_count::float8 as n from metrics.product_metrics where product_id = ${product}::bigint`)
    )[0]?.n ?? 0

  it('dead letters are redriven and discarded: each is counted, or not, once (I2, I3, I9)', async () => {
    // Of the products 1 to 9 one record cannot be read, and two wait behind it.
    for (let product = 1; product <= 9; product += 1) {
      const [bad, ...behind] = bed.likes(3, 1).map((one) => ({ ...one, ...keyed(product) }))
      await bed.publish([{ ...bad!, value: '{"userId":' }, ...behind])
    }
    await bed.send(900, 20)
    bed.consume()
    await bed.until('all is handled', () => bed.handledAll(927))
    await bed.db.execute(sql`
      update metrics.dead_letters set record_value = convert_to(format(
        '{"userId":7,"productId":%s,"createdAt":"%s"}', record_key, ${new Date().toISOString()}::text), 'UTF8')
      where reason = 'not_json'`)
    const action = { consumer: bed.consumer, actor: 'test', horizon, work: applyToProductMetrics }
    const move = async (verb: typeof redrive, key: number) => {
      for await (const outcome of verb(bed.db, {
        ...action,
        selection: { key: String(key), reason: 'not_json' },
      }))
        expect(outcome.waiting).toBe(0)
    }
    const stop = flow()

    const held = await holdSteps()
    const first = bed.run('rebuild') // passes all of them
    await bed.until('it is in the middle of a step', isWaiting)
    await move(redrive, 1)
    await move(discard, 2)
    await held.rollback()
    await move(redrive, 3)
    await move(discard, 4)
    expect(await first).toContain('Both models say the same.')
    await move(redrive, 5)
    await move(discard, 6)
    const switched = bed.run('rebuild', '--switch')
    await move(redrive, 7)
    await move(discard, 8)
    expect(await switched).toContain('Switched: nothing had to be changed.')
    await move(redrive, 9)

    const wanted = 927 - 4 + (await stop())
    await bed.until('all is counted', async () => (await bed.total()) >= wanted)
    expect([await bed.total(), await bed.inWindows()]).toEqual([wanted, wanted])
    expect(await bed.run('rebuild')).toContain('Both models say the same.')
  })

  const keyed = (product: number) => {
    const { key, value, headers } = recordOf({ product })
    return { key, value, headers }
  }

  it('somebody has locked a table of the model: the switch tries again and again, batches go on in between, and it switches when it can (I6, I8)', async () => {
    await bed.send(300)
    await bed.handle(300)
    await bed.db.execute(
      sql`update metrics.product_metrics set like_count = like_count + 7 where product_id = 3`,
    )
    bed.consume()
    const vacuum = await openTx(bed.db)
    await vacuum.tx.execute(sql`lock table metrics.product_like_days in share update exclusive mode`)
    const switched = bed.run('rebuild', '--switch')
    let sent = 300
    try {
      for (let round = 0; round < 3; round += 1) {
        await bed.until('the switch waits for the lock', isWaiting)
        await bed.send(20)
        sent += 20
        await bed.until('what came meanwhile is handled', () => bed.handledAll(sent))
      }
    } finally {
      await vacuum.rollback()
    }
    const text = await switched
    expect(text).toContain('  waits: ')
    expect(text).toContain('Switched: the live model is what was rebuilt.')
    expect([await bed.total(), await countOf(3)]).toEqual([sent, sent / 20])
  })
})
