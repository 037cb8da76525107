import { sql } from '@likewise/database'
import { discard } from '@likewise/inbox'
import { applyToProductMetrics } from '@likewise/metrics'
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals'
import { horizon } from './rebuild-testing.ts'
import { type Trace, addTraceCommand } from './trace.ts'
import { type VerifyWorld, exhaust, openWorld } from './verify-testing.ts'

// See libs/kafka/src/subscriber.int.spec.ts: kafkajs may wedge in silence while it joins a group.
jest.retryTimes(2, { logErrorsBeforeRetry: true })
jest.setTimeout(120_000)

let world: VerifyWorld
beforeEach(async () => {
  world = await openWorld()
})
afterEach(() => world.stop())

const run = (...words: string[]) => world.run(addTraceCommand, 'trace', ...words)

async function traces(...words: string[]): Promise<Trace[]> {
  const { text } = await run('--json', ...words)
  return JSON.parse(text) as Trace[]
}

async function lastEvent(): Promise<string> {
  const [row] = await world.catalog.query<{ id: string }>(
    sql`select id::text as id from catalog.outbox_events order by seq desc limit 1`,
  )
  return row?.id ?? ''
}

const stagesOf = (trace: Trace | undefined) => trace?.stages.map(({ stage }) => stage)

describe('likewise trace', () => {
  it('follows an event from the like to its count, each step with its time', async () => {
    world.startRelay()
    world.startConsumer()
    await world.like(7, 100)
    await world.handled(1)
    const id = await lastEvent()
    const [trace] = await traces(id)
    expect(trace).toMatchObject({ eventId: id, userId: 7, productId: 100, state: 'counted' })
    expect(stagesOf(trace)).toEqual(['liked', 'enqueued', 'published', 'settled', 'handled', 'counted'])
    const times = trace!.stages.map(({ at }) => Date.parse(String(at)))
    expect(times).not.toContain(Number.NaN)
    const [liked, enqueued, , , handled, counted] = times as [number, number, number, number, number, number]
    expect(liked).toBe(enqueued)
    expect(handled).toBeGreaterThanOrEqual(enqueued)
    expect(counted).toBe(handled)
    expect(trace!.stages[2]!.detail).toMatch(new RegExp(`^${world.topic}/\\d+ at offset 0$`))
    const { text } = await run(id)
    expect(text).toContain(`Event ${id} (catalog.like.added.v1, user 7, product 100): counted`)
    expect(text).toMatch(/\+\d.* (on Kafka) +test-/)
    expect(text).toContain('product 100 has 1 likes')
  })

  it("finds a user's events about a product, the newest first", async () => {
    await world.like(7, 100)
    await world.change([{ user: 7, product: 100, liked: false }])
    await world.like(8, 100)
    const found = await traces('--product', '100', '--user', '7')
    expect(found.map(({ eventType }) => eventType)).toEqual([
      'catalog.like.removed.v1',
      'catalog.like.added.v1',
    ])
    expect(found[0]?.state).toBe('in the outbox: PENDING')
    expect(stagesOf(found[1])).toEqual(['liked', 'enqueued'])
    expect(found[1]?.stages[0]).toMatchObject({ at: null, detail: 'taken away since' })
  })

  it('says why an event waits in the outbox', async () => {
    world.refuse(() => true)
    world.startRelay()
    await world.like(7, 100)
    const id = await lastEvent()
    for (;;) {
      const [trace] = await traces(id)
      if (trace?.state !== 'in the outbox: PARKED') continue
      expect(trace.stages.at(-1)).toMatchObject({
        stage: 'parked',
        detail: 'PARKED: too large, says the test',
      })
      break
    }
  })

  it('says what became of a dead letter, and who decided', async () => {
    world.startRelay()
    await world.metrics.execute(sql`
      create function metrics.refuse() returns trigger language plpgsql as $$ begin
        raise exception 'not today' using errcode = '23514'; end $$`)
    await world.metrics.execute(sql`
      create trigger refuse before insert on metrics.product_metrics for each row execute function metrics.refuse()`)
    world.startConsumer()
    await world.like(7, 100)
    await world.handled(1)
    const id = await lastEvent()
    const [waiting] = await traces(id)
    expect(waiting?.state).toBe('a dead letter')
    expect(stagesOf(waiting)).toEqual(['liked', 'enqueued', 'published', 'settled', 'dead_letter'])
    const action = { consumer: world.consumer, actor: 'ana', horizon, work: applyToProductMetrics }
    await exhaust(discard(world.sides.metrics, { ...action, selection: { key: '100' } }))
    const [given] = await traces(id)
    expect(given?.state).toBe('given up')
    expect(stagesOf(given)?.slice(-3)).toEqual(['resolved', 'audited', 'discarded'])
    expect(given?.stages.at(-2)?.detail).toContain('discard by ana')
  })

  it('says where nothing is known, and what to ask', async () => {
    await expect(run('019dfa6e-0000-7000-8000-000000000000')).rejects.toThrow(
      'Nobody knows event 019dfa6e-0000-7000-8000-000000000000',
    )
    await expect(run('--product', '1', '--user', '1')).rejects.toThrow(
      'The outbox holds no event of user 1 about product 1',
    )
    await expect(run('--product', '1')).rejects.toThrow('Say which event: its id, or --product and --user.')
  })
})
