import { describe, expect, it } from '@jest/globals'
import type { OutboxEvent } from '../page.ts'
import { timestampOf } from './decode.ts'
import { walQueue } from './queue.ts'

const event = (seq: number): OutboxEvent => ({ seq: String(seq) }) as OutboxEvent
const all = { rowsMax: 1_000, bytesMax: 1_000_000 }
const taken = (queue: ReturnType<typeof walQueue>, limits = all) => {
  const { events, lsn } = queue.take(limits)
  return [events.map(({ seq }) => Number(seq)), lsn]
}

describe('the queue between socket and relay', () => {
  it('gives the end of a transaction only together with its last event', () => {
    const queue = walQueue()
    queue.push(event(1), 10)
    queue.push(event(2), 10)
    queue.reach(100n)
    queue.push(event(3), 10)
    expect(taken(queue, { rowsMax: 1, bytesMax: 99 })).toEqual([[1], 0n])
    expect(taken(queue)).toEqual([[2, 3], 100n])
    queue.reach(200n)
    expect(queue.hasNews()).toBe(true)
    expect(taken(queue)).toEqual([[], 200n])
    expect(queue.hasNews()).toBe(false)
  })

  it('lets no position overtake the events that wait before it', () => {
    const queue = walQueue()
    queue.reach(50n)
    queue.push(event(1), 10)
    queue.reach(100n)
    queue.reach(170n)
    queue.push(event(2), 10)
    expect(taken(queue, { rowsMax: 1, bytesMax: 99 })).toEqual([[1], 170n])
    expect(taken(queue)).toEqual([[2], 170n])
  })

  it('never goes back', () => {
    const queue = walQueue()
    queue.reach(100n)
    queue.take(all)
    queue.reach(90n)
    expect(queue.hasNews()).toBe(false)
    queue.push(event(1), 10)
    queue.reach(80n)
    expect(taken(queue)).toEqual([[1], 100n])
  })

  it('cuts by bytes, but gives one event however large', () => {
    const queue = walQueue()
    for (const seq of [1, 2, 3]) queue.push(event(seq), 400)
    expect(queue.bytes()).toBe(1_200)
    expect(taken(queue, { rowsMax: 9, bytesMax: 800 })).toEqual([[1, 2], 0n])
    expect(taken(queue, { rowsMax: 9, bytesMax: 1 })).toEqual([[3], 0n])
    expect([queue.bytes(), queue.rows()]).toEqual([0, 0])
  })

  it('keeps order and count over many pushes and takes', () => {
    const queue = walQueue()
    const seen: number[] = []
    for (let seq = 1; seq <= 60_000; seq += 1) {
      queue.push(event(seq), 1)
      if (seq % 3 === 0) seen.push(...(taken(queue, { rowsMax: 2, bytesMax: 9 })[0] as number[]))
    }
    while (queue.hasNews() && queue.rows() > 0) seen.push(...(taken(queue)[0] as number[]))
    expect(seen).toEqual(Array.from({ length: 60_000 }, (_, i) => i + 1))
  })
})

describe('a timestamp as the WAL has it', () => {
  it.each([
    ['2026-11-22 10:11:12.123456+00', '2026-11-22T10:11:12.123456Z'],
    ['2026-11-22 10:11:12.12+00', '2026-11-22T10:11:12.120000Z'],
    ['2026-11-22 10:11:12+00', '2026-11-22T10:11:12.000000Z'],
    ['12026-11-22 10:11:12+00', '12026-11-22T10:11:12.000000Z'],
    ['infinity', 'infinity'],
  ])('%s becomes %s', (text, expected) => {
    expect(timestampOf(text)).toBe(expected)
  })
})
