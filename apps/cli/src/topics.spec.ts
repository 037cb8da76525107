import { describe, expect, it } from '@jest/globals'
import { manyPartitions } from './topics.ts'

describe('the number of partitions', () => {
  it('is a multiple of the shards of the outbox', () => {
    expect(['12', '24', '1200'].map(manyPartitions)).toEqual([12, 24, 1_200])
  })

  it.each(['0', '13', '-12', '12.5', '1e2', '', '1212', 'many'])('is not %j', (text) => {
    expect(() => manyPartitions(text)).toThrow('It must be a multiple of 12, 1200 at most.')
  })
})
