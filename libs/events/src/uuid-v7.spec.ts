import { describe, expect, it } from '@jest/globals'
import { uuidV7TimeMs } from './index.ts'

describe('uuidV7TimeMs', () => {
  it('reads the example of RFC 9562, in either case', () => {
    const madeAt = Date.parse('2022-02-22T14:22:22.000-05:00')
    expect(uuidV7TimeMs('017F22E2-79B0-7CC3-98C4-DC0C0C07398F')).toBe(madeAt)
    expect(uuidV7TimeMs('017f22e2-79b0-7cc3-98c4-dc0c0c07398f')).toBe(madeAt)
  })

  it('keeps all 48 bits', () => {
    expect(uuidV7TimeMs('ffffffff-ffff-7000-8000-000000000000')).toBe(2 ** 48 - 1)
    expect(uuidV7TimeMs('00000000-0000-7000-8000-000000000000')).toBe(0)
  })

  it.each([
    ['another version', '017f22e2-79b0-4cc3-98c4-dc0c0c07398f'],
    ['another variant', '017f22e2-79b0-7cc3-c8c4-dc0c0c07398f'],
    ['braces', '{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}'],
    ['no dashes', '017f22e279b07cc398c4dc0c0c07398f'],
    ['a line break behind it', '017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n'],
    ['nothing', ''],
  ])('is null for an id with %s', (_why, id) => {
    expect(uuidV7TimeMs(id)).toBeNull()
  })
})
