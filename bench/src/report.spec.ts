import { describe, expect, it } from '@jest/globals'
import { type Report, conditionsOf, median, partOf, percentile, tableOf } from './report.ts'

const machine = {
  cpu: 'Pocket Calculator',
  cores: 2,
  memoryMb: 4096,
  os: 'linux 6.1',
  node: '24.0.0',
  postgres: '18.1',
  kafka: '4.3.1',
  servers: 'embedded',
  durability: 'fsync=on, synchronous_commit=on, acks=all',
}

describe('a report', () => {
  it('takes the middle value, and the mean of the middle two of an even number', () => {
    expect(median([30, 1, 2])).toBe(2)
    expect(median([4, 1, 3, 2])).toBe(2.5)
    expect(median([7])).toBe(7)
    expect(() => median([])).toThrow(RangeError)
  })

  it('orders numbers as numbers, not as text', () => {
    expect(median([9, 10, 100])).toBe(10)
  })

  it('takes percentiles by nearest rank', () => {
    const values = Array.from({ length: 200 }, (_, i) => 200 - i)
    expect(percentile(values, 0.5)).toBe(100)
    expect(percentile(values, 0.99)).toBe(198)
    expect(percentile(values, 1)).toBe(200)
    expect(percentile([3], 0.01)).toBe(3)
    expect(() => percentile([], 0.5)).toThrow(RangeError)
  })

  it('divides the median by the median of the limit', () => {
    const limit = { name: 'as fast as it goes', repeats: [20_000, 40_000, 21_000] }
    expect(partOf('relay.drain', '1/s', [10_000, 14_700.4, 15_000], limit)).toEqual({
      name: 'relay.drain',
      value: 14_700,
      unit: '1/s',
      limit: 21_000,
      limitName: 'as fast as it goes',
      ratio: 0.7,
      repeats: [10_000, 14_700, 15_000],
    })
  })

  it('has null where nothing bounds a part', () => {
    expect(partOf('e2e.p50', 'ms', [41.26])).toMatchObject({
      value: 41.3,
      limit: null,
      limitName: null,
      ratio: null,
    })
  })

  it('prints the CPU seconds beside the rate they belong to', () => {
    const limit = { name: 'bare', repeats: [20_000] }
    const parts = [
      partOf('relay.drain', '1/s', [10_000], limit),
      partOf('relay.cpu', 's', [4.2]),
      partOf('relay.drain.other', '1/s', [15_000], limit),
      partOf('relay.cpu.other', 's', [2.1]),
    ]
    expect(tableOf(parts).split('\n')).toEqual([
      'part               value  unit  limit  ratio  cpu s/100k  repeats  what the limit is',
      'relay.drain        10000  1/s   20000   0.50         4.2  10000    bare',
      'relay.cpu            4.2  s                               4.2',
      'relay.drain.other  15000  1/s   20000   0.75         2.1  15000    bare',
      'relay.cpu.other      2.1  s                               2.1',
    ])
  })

  it('keeps three digits of a small share of a core', () => {
    expect(tableOf([partOf('relay.idle', '%', [2.456, 1.2, 3])]).split('\n')[1]).toBe(
      'relay.idle   2.46  %                               2.46 1.2 3',
    )
  })

  it('says under which conditions it was taken', () => {
    const text = conditionsOf({ machine, date: '2026-01-02T03:04:05Z', commit: 'abc1234' })
    for (const value of Object.values(machine)) expect(text).toContain(String(value))
    expect(text).toContain('abc1234')
  })

  it('keeps its shape in JSON', () => {
    const report: Report = {
      machine,
      date: '2026-01-02',
      commit: 'abc1234',
      parts: [partOf('e2e.p99', 'ms', [99])],
    }
    expect(JSON.parse(JSON.stringify(report))).toEqual({
      machine,
      date: '2026-01-02',
      commit: 'abc1234',
      parts: [
        { name: 'e2e.p99', value: 99, unit: 'ms', limit: null, limitName: null, ratio: null, repeats: [99] },
      ],
    })
  })
})
