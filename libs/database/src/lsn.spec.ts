import { describe, expect, it } from '@jest/globals'
import { lsnText, parseLsn } from './lsn.ts'

describe('a WAL position', () => {
  it.each([
    ['0/0', 0n],
    ['0/16B3748', 0x16b3748n],
    ['16/B374D848', 0x16b374d848n],
    ['FFFFFFFF/FFFFFFFF', 2n ** 64n - 1n],
  ])('%s is read and written', (text, lsn) => {
    expect(parseLsn(text)).toBe(lsn)
    expect(lsnText(lsn)).toBe(text)
  })

  it('is nothing else', () => {
    for (const text of ['', '16', '16/', '16/G', '1/123456789'])
      expect(() => parseLsn(text)).toThrow(TypeError)
  })
})
