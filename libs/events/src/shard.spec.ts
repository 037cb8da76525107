import { describe, expect, it } from '@jest/globals'
import { murmur2, shardOf } from './index.ts'

describe('murmur2', () => {
  // From Kafka's own UtilsTest.testMurmur2.
  it.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])('hashes %s as Kafka does', (key, hash) => {
    expect(murmur2(key)).toBe(hash)
    expect(murmur2(new TextEncoder().encode(key))).toBe(hash)
  })

  it('hashes text that is not ASCII by its UTF-8 bytes, high bit and all', () => {
    expect(murmur2('좋아요')).toBe(446945556)
    expect(murmur2(Uint8Array.of(0xff, 0x80, 0xfe, 0x81, 0xfd, 0x82, 0xfc))).toBe(1867014551)
  })

  it('hashes the empty key', () => {
    expect(murmur2('')).toBe(275646681)
  })
})

describe('shardOf', () => {
  // Stored with every outbox row: a change of one of these loses rows. The SQL door computes the same.
  it.each([
    ['1', 3],
    ['2', 8],
    ['42', 4],
    ['100', 9],
    ['10012', 11],
    ['9007199254740991', 3],
  ])('keeps product %s in shard %i for ever', (key, shard) => {
    expect(shardOf(key)).toBe(shard)
  })

  it('takes the number of shards, so that it also tells the partition', () => {
    expect(shardOf('21', 24)).toBe((-973932308 & 0x7fffffff) % 24)
  })

  it('spreads products evenly: no shard of 12 is 5 % off its share of 120,000', () => {
    const counts = Array.from({ length: 12 }, () => 0)
    for (let product = 1; product <= 120_000; product++) {
      const shard = shardOf(String(product))
      counts[shard] = (counts[shard] ?? 0) + 1
    }
    expect(Math.min(...counts)).toBeGreaterThan(9_500)
    expect(Math.max(...counts)).toBeLessThan(10_500)
  })
})
