import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { type QueuedLetter, movableOf, readLetter } from './queue.ts'
import { recordOf, withoutEnd } from './letter-testing.ts'

const dayMs = 86_400_000
const nowMs = Date.UTC(2026, 10, 22, 12)
const reading = { horizon: { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }, nowMs, force: false }

/** s: asked for, b: was only parked behind, x: neither; S, B: the same, but cannot be read. */
function letterOf(sign: string, i: number): QueuedLetter {
  const broken = sign === 'S' || sign === 'B'
  const told = { offset: i, product: 100, madeMs: nowMs }
  return {
    ...{
      id: BigInt(i),
      topic: 't',
      partition: 0,
      offset: BigInt(i),
      key: '100',
      eventId: null,
      eventType: null,
    },
    ...{
      detail: '',
      attempts: 1,
      blocksKey: true,
      parkedAt: new Date(nowMs),
      copiedAt: null,
      resolvedAt: null,
    },
    resolution: null,
    reason: sign.toLowerCase() === 'b' ? 'behind_parked' : 'failed',
    selected: sign.toLowerCase() === 's',
    record: recordOf(told, broken ? withoutEnd : {}),
  }
}

const queueOf = (signs: string): QueuedLetter[] => Array.from(signs, letterOf)

describe('of the letters of a key, those that move now', () => {
  it.each([
    ['', 0, null],
    ['s', 1, null],
    ['sbb', 3, null],
    ['bb', 2, null],
    ['x', 0, 0],
    ['xsb', 0, 0],
    ['sbxs', 2, 2],
    ['sSb', 1, 1],
    ['Ss', 0, 0],
    ['sB', 1, 1],
    ['bsbsb', 5, null],
  ])('%j: the first %i, and it stops at %j', (signs, count, stopsAt) => {
    const { movable, stop } = movableOf(queueOf(signs), reading)
    expect(movable.map(({ letter }) => Number(letter.id))).toEqual(Array.from({ length: count }, (_, i) => i))
    expect(stop === null ? null : Number(stop.letter.id)).toBe(stopsAt)
  })

  it('are always the first ones, without a gap, whatever waits (I4)', () => {
    const signs = fc.string({ unit: fc.constantFrom('s', 'b', 'x', 'S', 'B'), maxLength: 30 })
    fc.assert(
      fc.property(signs, (queue) => {
        const { movable, stop } = movableOf(queueOf(queue), reading)
        expect(movable.map(({ letter }) => Number(letter.id))).toEqual(movable.map((_, i) => i))
        expect(stop === null ? queue.length : Number(stop.letter.id)).toBe(movable.length)
        expect(queue.slice(0, movable.length)).toMatch(/^[sb]*$/)
        expect(stop === null ? 'x' : queue[movable.length]).toMatch(/[xSB]/)
      }),
    )
  })
})

describe('a letter that is read again', () => {
  const aged = (days: number) => ({ ...letterOf('s', 7), record: recordOf({ offset: 7, product: 1, madeMs: nowMs - days * dayMs }) }) // prettier-ignore

  it('has grown too old while it waited, and is then applied by force only (I2)', () => {
    expect(readLetter(aged(29), reading)).toHaveProperty('event')
    expect(readLetter(aged(31), reading)).toEqual({
      why: 'the event id is 31.0 days old, the horizon is 30.0; --force applies it all the same',
    })
    expect(readLetter(aged(31), { ...reading, force: true })).toHaveProperty('event')
    expect(readLetter(aged(-3), { ...reading, force: true })).toHaveProperty('event')
  })

  it('has, by force, its place in the log for an id where it has no usable one: the same each time', () => {
    const { headers } = recordOf({ offset: 7, product: 100 })
    const letter = (offset: number): QueuedLetter => ({
      ...letterOf('s', offset),
      record: recordOf({ offset, product: 100 }, { headers: { ...headers, ce_id: '42' } }),
    })
    expect(readLetter(letter(7), reading)).toHaveProperty('why', expect.stringContaining('--force'))
    const forced = { ...reading, force: true }
    const ids = [letter(7), letter(7), letter(8)].map((one) => {
      const read = readLetter(one, forced)
      if (!('event' in read)) throw new Error(read.why)
      return read.event.id
    })
    expect(ids[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(ids[1]).toBe(ids[0])
    expect(ids[2]).not.toBe(ids[0])
  })

  it('says what is wrong where it still cannot be read, force or not', () => {
    for (const force of [false, true]) {
      expect(readLetter(letterOf('S', 1), { ...reading, force })).toEqual({
        why: expect.stringContaining('the value is not JSON'),
      })
    }
  })
})
