import { describe, expect, it } from '@jest/globals'
import { showStatus } from './status-view.ts'
import type { Status } from './status.ts'

const quiet = { parked: { events: 0, keys: 0 }, resets: [] }
const calm: Status = {
  outbox: { ...quiet, pending: 0, oldestAgeMs: null, shards: [] },
  consumer: { name: 'metrics-consumer', lag: 0, partitions: [] },
  deadLetters: { unresolved: 0, byReason: {} },
  rebuild: { current: null },
}
const cursor = { window: 7, afterSeq: 40, lastSeq: 40 }
const health = { attempts: 0, lastError: null, owner: null, epoch: 3 }
const shard = { shard: 0, pending: 0, oldestAgeMs: null, ...cursor, ...health }

/** The lines under a heading. */
const part = (status: Status, heading: string): string[] => {
  const lines = showStatus(status).split('\n')
  const begin = lines.indexOf(heading) + 1
  const end = lines.indexOf('', begin)
  return lines.slice(begin, end === -1 ? undefined : end)
}

describe('likewise status', () => {
  it('shows what waits, who has it, how far the consumer is and what is parked', () => {
    const status: Status = {
      outbox: {
        ...quiet,
        pending: 1_201,
        oldestAgeMs: 8_400,
        shards: [
          { ...shard, pending: 1, oldestAgeMs: 420, owner: '7f1c2f5e-2a0b-4a53-9d4e-0123456789ab' },
          {
            ...shard,
            shard: 11,
            pending: 1_200,
            afterSeq: 900,
            lastSeq: 2_100,
            oldestAgeMs: 8_400,
            attempts: 3,
            lastError: 'Kafka does not take records',
          },
        ],
      },
      consumer: {
        name: 'metrics-consumer',
        lag: 5,
        partitions: [
          { partition: 0, nextOffset: 95, end: 100, lag: 5 },
          { partition: 11, nextOffset: 1_000_000, end: 1_000_000, lag: 0 },
        ],
      },
      deadLetters: { unresolved: 3, byReason: { behind_parked: 2, not_json: 1 } },
      rebuild: { current: null },
    }
    expect(showStatus(status)).toBe(
      [
        'Outbox',
        '  1201 events waiting, the oldest for 8.4 s',
        '  shard  waiting  oldest  window  published to  attempts  relay         last error',
        '  0      1        420 ms  7       40            0         0123456789ab',
        '  11     1200     8.4 s   7       900 of 2100   3         nobody        Kafka does not take records',
        '',
        'Consumer',
        '  metrics-consumer: 5 events behind',
        '  partition  next     end      behind',
        '  0          95       100      5',
        '  11         1000000  1000000  0',
        '',
        'Dead letters',
        '  3 unresolved: likewise dead-letters list',
        '    behind_parked: 2',
        '    not_json: 1',
      ].join('\n'),
    )
  })

  it('is short when all is calm', () => {
    expect(showStatus(calm)).toBe(
      [
        'Outbox',
        '  0 events waiting',
        '  shard  waiting  oldest  window  published to  attempts  relay  last error',
        '',
        'Consumer',
        '  metrics-consumer: 0 events behind',
        '  partition  next  end  behind',
        '',
        'Dead letters',
        '  none',
      ].join('\n'),
    )
  })

  it('says of each part that could not be asked why, and shows the others all the same', () => {
    const away = { error: 'PostgreSQL is not available: nothing answers.' }
    const status = { ...calm, outbox: away, consumer: { error: 'Kafka is away.' } }
    expect(part(status, 'Outbox')).toEqual(['  PostgreSQL is not available: nothing answers.'])
    expect(part(status, 'Consumer')).toEqual(['  Kafka is away.'])
    expect(part({ ...calm, deadLetters: away }, 'Dead letters')).toEqual([`  ${away.error}`])
    expect(part(status, 'Dead letters')).toEqual(['  none'])
  })

  it('says so when the log ends before the mark', () => {
    const partitions = [{ partition: 3, nextOffset: 1_000, end: 950, lag: -50 }]
    const status: Status = { ...calm, consumer: { name: 'metrics-consumer', lag: 0, partitions } }
    expect(part(status, 'Consumer')[2]).toBe(
      '  3          1000  950  the log ends before the mark: new records are passed over',
    )
  })

  it('counts one event as one event', () => {
    const status: Status = { ...calm, outbox: { ...quiet, pending: 1, oldestAgeMs: 10, shards: [] } }
    expect(part(status, 'Outbox')[0]).toBe('  1 event waiting, the oldest for 10 ms')
  })

  it('shows no error of a shard that has recovered', () => {
    const recovered = { ...shard, attempts: 0, lastError: 'long ago' }
    expect(
      showStatus({ ...calm, outbox: { ...quiet, pending: 0, oldestAgeMs: null, shards: [recovered] } }),
    ).not.toContain('ago')
  })

  it.each([
    [0, '0 ms'],
    [999.4, '999 ms'],
    [1_000, '1.0 s'],
    [119_900, '119.9 s'],
    [120_000, '2 min'],
    [7_199_000, '120 min'],
    [7_200_000, '2.0 h'],
    [864_000_000, '240.0 h'],
  ])('shows an age of %d ms as %s', (oldestAgeMs, text) => {
    const status: Status = { ...calm, outbox: { ...quiet, pending: 2, oldestAgeMs, shards: [] } }
    expect(part(status, 'Outbox')[0]).toBe(`  2 events waiting, the oldest for ${text}`)
  })

  it('ends no line with a space', () => {
    const shards = [{ ...shard, lastError: '' }]
    expect(showStatus({ ...calm, outbox: { ...quiet, pending: 0, oldestAgeMs: null, shards } })).not.toMatch(
      / $/m,
    )
  })

  it('names the command for what is parked in the outbox, and for a topic that lost records', () => {
    const resets = [{ topic: 'catalog-events', partition: 3, at: '2026-01-31T12:00:00.000Z' }]
    const outbox = { pending: 0, oldestAgeMs: null, parked: { events: 7, keys: 2 }, resets, shards: [] }
    const shown = showStatus({ ...calm, outbox })
    expect(shown).toContain('7 events of 2 keys parked: likewise outbox parked')
    expect(shown).toContain(
      'catalog-events/3 lost records, seen 2026-01-31T12:00:00.000Z: likewise outbox republish',
    )
  })

  it('tells how far a rebuild is that is going on, and of one that was left what can be done', () => {
    const current = {
      ...{ consumer: 'metrics-consumer', topic: 'catalog-events', version: '1.0.0', snapshotId: null },
      ...{ begunAt: '2026-01-31T12:00:00.000Z', owner: 'ops@host', isUnderWay: true },
      ...{ done: 1_234, total: 5_000 },
    }
    expect(part({ ...calm, rebuild: { current } }, 'Rebuild')).toEqual([
      '  of metrics-consumer from the beginning of catalog-events, begun at 2026-01-31T12:00:00.000Z: 24 %, 1,234 of 5,000 records',
      '  under way, by ops@host; Ctrl-C there stops it, and nothing is lost by that',
    ])
    const left = { ...current, snapshotId: 7, isUnderWay: false, done: 0, total: 0 }
    expect(part({ ...calm, rebuild: { current: left } }, 'Rebuild')).toEqual([
      '  of metrics-consumer from snapshot 7 and what came after it on catalog-events, begun at 2026-01-31T12:00:00.000Z: 100 %, 0 of 0 records',
      '  nobody works on it, the last was ops@host; the live model is as it was',
      '  likewise rebuild            goes on with it',
      '  likewise rebuild --switch   goes on, and puts the rebuilt model in its place',
      '  likewise rebuild --drop     gives it up',
    ])
    const away = { error: 'PostgreSQL is not available: nothing answers.' }
    expect(part({ ...calm, rebuild: away }, 'Rebuild')).toEqual([`  ${away.error}`])
  })
})
