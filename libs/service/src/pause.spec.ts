import { getEventListeners } from 'node:events'
import { describe, expect, it } from '@jest/globals'
import { pause } from './pause.ts'

describe('pause', () => {
  it('lasts as long as it was told', async () => {
    const begun = performance.now()
    await pause(20)
    expect(performance.now() - begun).toBeGreaterThanOrEqual(18)
  })

  it('ends at once, without an error, when the signal aborts', async () => {
    const stopping = new AbortController()
    const paused = pause(60_000, stopping.signal)
    stopping.abort()
    await expect(paused).resolves.toBeUndefined()
    await expect(pause(60_000, stopping.signal)).resolves.toBeUndefined()
  })

  it('leaves no listener behind on a signal that lives as long as the process', async () => {
    const { signal } = new AbortController()
    for (let n = 0; n < 20; n += 1) await pause(0, signal)
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})
