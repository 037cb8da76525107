import { Writable } from 'node:stream'
import { describe, expect, it } from '@jest/globals'
import { Failure } from './failure.ts'
import { buildLogger } from './logger.ts'
import { repeat } from './repeat.ts'

describe('repeat', () => {
  it('goes on after an outage, told as a warning, and after a bug, told as an error, until it is stopped', async () => {
    const lines: { level: string; msg: string }[] = []
    const to = new Writable({
      write(line, _, done) {
        lines.push(JSON.parse(String(line)) as (typeof lines)[number])
        done()
      },
    })
    const failures = [new Failure('DATABASE_BUSY', 'Busy.'), new TypeError('a bug')]
    let [turns, ended] = [0, false]
    const stopped = await new Promise<() => Promise<void>>((resolve) => {
      const stop = repeat(
        async (stopping) => {
          turns += 1
          if (turns <= failures.length) throw failures[turns - 1]!
          resolve(stop)
          await new Promise((over) => stopping.addEventListener('abort', over))
          ended = true
        },
        { pauseMs: () => 0, log: buildLogger({ service: 'test', level: 'info' }, to), failed: 'not done' },
      )
    })
    await stopped()
    expect([turns, ended]).toEqual([3, true])
    expect(lines).toMatchObject([
      { level: 'warn', msg: 'not done' },
      { level: 'error', msg: 'not done' },
    ])
  })
})
