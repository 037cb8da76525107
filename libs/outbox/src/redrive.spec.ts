import { describe, expect, it } from '@jest/globals'
import type { WaitingEvent } from './parked.ts'
import { sendableOf } from './redrive.ts'

const waiting = (signs: string): WaitingEvent[] =>
  Array.from(signs, (sign, i) => ({
    event: { seq: String(i) } as WaitingEvent['event'],
    reason: sign === 'b' || sign === 'd' ? 'behind' : 'refused',
    mark: sign === 'R' ? 'redrive' : sign === 'd' ? 'discard' : null,
  }))

describe('sendableOf', () => {
  it.each([
    // r: refused, R: refused and marked, b: behind, d: behind and to be discarded; how many may be sent
    ['', 0],
    ['r', 0],
    ['R', 1],
    ['rbb', 0],
    ['Rbb', 3],
    ['Rbbrb', 3],
    ['RbbRb', 5],
    ['rbbRb', 0],
    ['bb', 2],
    ['bbrb', 2],
    ['bbdb', 2],
    ['Rd', 1],
  ])('of %j sends the first %i', (signs, count) => {
    expect(sendableOf(waiting(signs)).map(({ seq }) => seq)).toEqual(
      Array.from({ length: count }, (_, i) => String(i)),
    )
  })
})
