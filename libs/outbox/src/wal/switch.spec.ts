import { describe, expect, it } from '@jest/globals'
import { inOrder } from './switch.ts'

describe('the snapshot that a slot begins with', () => {
  it('sees all that has ended, also where PostgreSQL says that it ends before it begins', () => {
    expect(inOrder('9393:9392:')).toBe('9393:9393:')
  })

  it('stays as it is where its bounds are in order', () => {
    for (const snapshot of ['7:7:', '7:12:', '7:12:8,9']) expect(inOrder(snapshot)).toBe(snapshot)
  })
})
