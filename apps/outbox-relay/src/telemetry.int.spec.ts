import { readFileSync } from 'node:fs'
import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import { keepRing, startRelay, watchPositions } from '@likewise/outbox'
import { type Telemetry, buildLogger, buildTelemetry, pause } from '@likewise/service'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { watchBacklog } from './backlog-telemetry.ts'

const log = buildLogger({ service: 'test', level: 'silent' })
let test: TestDatabase
let telemetry: Telemetry
let stops: (() => unknown)[]

beforeEach(async () => {
  test = await freshDatabase('relay_telemetry')
  telemetry = buildTelemetry('test')
  stops = []
})
afterEach(async () => {
  for (const stop of stops) await stop()
  await test.drop()
})

/** What Prometheus would read, by metric and labels. */
async function scraped(): Promise<Map<string, number>> {
  const samples = (await telemetry.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    samples.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
  )
}

describe('the telemetry of a relay', () => {
  it('tells how many keys are parked, and how many events with them', async () => {
    await test.db.execute(sql`
      insert into catalog.outbox_parked (seq, id, shard, aggregate_type, aggregate_id, event_type, topic, partition_key,
                                         payload, created_at, reason, detail, attempts, resolved_at)
      select seq, uuidv7(), catalog.outbox_shard(key), 'product', key, 'test.happened.v1', 'test', key, '{}', now(),
             'refused', 'too large', 3, case when key = 'resolved' then now() end
      from unnest('{a,a,a,b,resolved}'::text[]) with ordinality as e(key, seq)`)
    stops.push(watchBacklog(test.as('likewise_relay'), telemetry, log))
    for (
      const end = performance.now() + 5_000;
      !((await scraped()).get('likewise_outbox_parked_keys')! > 0);
    ) {
      expect(performance.now()).toBeLessThan(end)
      await pause(20)
    }
    expect((await scraped()).get('likewise_outbox_parked_keys')).toBe(2)
    expect((await scraped()).get('likewise_outbox_parked_events')).toBe(4)
  })

  it('is all in docs/architecture.md, says what it is, and has no ids in its labels', async () => {
    const relay = startRelay({
      ...{ db: test.as('likewise_relay'), url: test.url, log, telemetry },
      publish: async () => undefined,
      limits: {
        pageRowsMax: 10,
        pageBytesMax: 10_000,
        pollMinMs: 5,
        pollMaxMs: 20,
        leaseMs: 1_000,
        backoffBaseMs: 1,
        backoffCapMs: 1,
      },
      fail: (error) => {
        throw error
      },
    })
    stops.push(() => relay.stop(), watchBacklog(test.as('likewise_relay'), telemetry, log))
    const watching = { db: test.as('likewise_relay'), log, telemetry, everyMs: 1_000 }
    const positions = watchPositions(watching)
    stops.push(() => positions.stop(), keepRing({ ...watching, isKeeper: () => false, retentionDays: 1 }))

    const text = await telemetry.text()
    const metrics = [...text.matchAll(/^# HELP (likewise_outbox_\w+) (.+)\n# TYPE \1 (\w+)$/gm)].map(
      ([, name, help, type]) => ({ name, help, type }),
    )
    const docs = readFileSync(new URL('../../../docs/architecture.md', import.meta.url), 'utf8')
    const listed = [...docs.matchAll(/`(likewise_outbox_\w+)/g)].map(([, name]) => name)
    expect(metrics.map(({ name }) => name).sort()).toEqual([...new Set(listed)].sort())
    for (const { name, help, type } of metrics) {
      expect(help).toMatch(/^\S.*\.$/)
      expect({ name, counts: name!.endsWith('_total') }).toEqual({ name, counts: type === 'counter' })
    }
    const labels = [...text.matchAll(/^likewise_outbox_\w+\{(\w+)=/gm)].map(([, label]) => label)
    for (const label of labels) expect(['reason', 'status', 'le']).toContain(label)
  })
})
