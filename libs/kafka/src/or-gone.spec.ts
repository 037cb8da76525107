import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from '@jest/globals'
import { orGone } from './or-gone.ts'

const never = new Promise<void>(() => undefined)

/** What lives, in bytes. */
function heapBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed
}

describe('waiting for work, but not beyond a signal', () => {
  it('ends as the work ends, or with the signal, whichever comes first', async () => {
    const gone = new AbortController()
    await expect(orGone(gone.signal, Promise.resolve())).resolves.toBeUndefined()
    await expect(orGone(gone.signal, Promise.reject(new Error('no')))).rejects.toThrow('no')
    const waiting = orGone(gone.signal, never)
    gone.abort()
    await expect(waiting).resolves.toBeUndefined()
    await expect(orGone(gone.signal, never)).resolves.toBeUndefined()
  })

  it('leaves nothing behind: a consumer waits so for every batch of its life', async () => {
    const gone = new AbortController()
    const wait = async (times: number) => {
      for (let i = 0; i < times; i += 1) await orGone(gone.signal, Promise.resolve())
    }
    await wait(1_000)
    const before = heapBytes()
    await wait(50_000)
    expect((heapBytes() - before) / 50_000).toBeLessThan(30)
    gone.abort()
  })
})
