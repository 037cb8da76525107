import { describe, expect, it } from '@jest/globals'
import { Type } from 'typebox'
import { port } from './config.ts'
import { Failure } from './failure.ts'
import { pause } from './pause.ts'
import { startService } from './service.ts'
import type { Service } from './service.ts'

const schema = Type.Object({ LIKE_API_PORT: port(8080, 'Port of the API') })

/** A process that can be signalled and only notes that it was told to exit. */
function stage(env: NodeJS.ProcessEnv = {}) {
  const logged: Record<string, unknown>[] = []
  const said: string[] = []
  const exits: number[] = []
  let signal: (signal: 'SIGTERM' | 'SIGINT') => void = () => {}
  let bug: (error: unknown) => void = () => {}
  let leave: (code: number) => void = () => {}
  const exited = new Promise<number>((resolve) => {
    leave = resolve
  })
  const run = (start: (service: Service<typeof schema>) => Promise<void>) =>
    startService(
      { name: 'like-api', schema, start },
      {
        env,
        logTo: { write: (line) => void logged.push(JSON.parse(line) as Record<string, unknown>) },
        onSignal: (listener) => {
          signal = listener
        },
        onBug: (listener) => {
          bug = listener
        },
        complain: (line) => void said.push(line),
        exit: (code) => {
          exits.push(code)
          leave(code)
        },
      },
    )
  return {
    run,
    logged,
    said,
    exits,
    exited,
    terminate: () => {
      signal('SIGTERM')
    },
    bug: (error: unknown) => {
      bug(error)
    },
  }
}

const never = () => new Promise<void>(() => {})

describe('a service that starts', () => {
  it('gets its settings, its log and its numbers, and stays', async () => {
    const { run, logged, exits } = stage({ LIKE_API_PORT: '1234', LOG_LEVEL: 'debug' })
    await run(async ({ config, log, telemetry, stopping }) => {
      expect(config).toEqual({ LIKE_API_PORT: 1234, LOG_LEVEL: 'debug', SHUTDOWN_TIMEOUT_MS: 10_000 })
      expect(log.level).toBe('debug')
      expect(await telemetry.text()).toContain('service="like-api"')
      expect(stopping.aborted).toBe(false)
    })
    expect(logged.at(-1)).toMatchObject({ msg: 'started', service: 'like-api' })
    expect(exits).toEqual([])
  })

  it('says in one sentence what is wrong with its settings, and exits 1', async () => {
    const { run, said, exits, logged } = stage({ LIKE_API_PORT: '8080x', SHUTDOWN_TIMEOUT_MS: 'soon' })
    await run(async () => {
      throw new Error('must not start')
    })
    expect(exits).toEqual([1])
    expect(said).toHaveLength(1)
    expect(said[0]).toMatch(
      /^like-api: The configuration is invalid\.\n {2}LIKE_API_PORT .*\n {2}SHUTDOWN_TIMEOUT_MS .*$/,
    )
    expect(logged).toEqual([])
  })

  it('says a Failure in one sentence without a stack, gives back what it took, and exits 1', async () => {
    const { run, said, exited, logged } = stage()
    const released: string[] = []
    await run(async ({ defer }) => {
      defer('database', () => released.push('database'))
      throw new Failure('DATABASE_UNAVAILABLE', 'postgres://me:c4n4ry@db does not answer.')
    })
    expect(await exited).toBe(1)
    expect(said).toEqual(['like-api: postgres://me:***@db does not answer.'])
    expect(released).toEqual(['database'])
    expect(logged.filter(({ level }) => level === 'fatal')).toEqual([])
  })

  it('logs any other error with its stack, and exits 1', async () => {
    const { run, said, exited, logged } = stage()
    await run(async () => {
      throw new TypeError('a bug')
    })
    expect(await exited).toBe(1)
    expect(said).toEqual([])
    expect(logged).toContainEqual(
      expect.objectContaining({
        level: 'fatal',
        err: expect.objectContaining({ stack: expect.stringContaining('a bug') }),
      }),
    )
  })
})

describe('a service that is told to stop', () => {
  it('takes no new work first, then releases the last taken first, each after the other, and exits 0', async () => {
    const { run, exited, terminate } = stage()
    const story: string[] = []
    await run(async ({ defer, stopping }) => {
      stopping.addEventListener('abort', () => story.push('no new work'))
      defer('database', () => void story.push('database'))
      defer('relay', async () => {
        story.push('relay stops')
        await pause(5)
        story.push('relay stopped')
      })
    })
    terminate()
    expect(story).toEqual(['no new work'])
    expect(await exited).toBe(0)
    expect(story).toEqual(['no new work', 'relay stops', 'relay stopped', 'database'])
  })

  it('releases the rest when one releaser fails, and logs which', async () => {
    const { run, exited, terminate, logged } = stage()
    const released: string[] = []
    await run(async ({ defer }) => {
      defer('database', () => released.push('database'))
      defer('producer', () => Promise.reject(new Error('Kafka is down')))
    })
    terminate()
    expect(await exited).toBe(0)
    expect(released).toEqual(['database'])
    expect(logged).toContainEqual(expect.objectContaining({ level: 'error', releaser: 'producer' }))
  })

  it('exits 1 at once at the second signal', async () => {
    const { run, exits, exited, terminate } = stage()
    await run(async ({ defer }) => {
      defer('database', never)
    })
    terminate()
    expect(exits).toEqual([])
    terminate()
    expect(exits).toEqual([1])
    expect(await exited).toBe(1)
  })

  it('exits 1 when stopping takes too long, and names what is left behind', async () => {
    const { run, exited, terminate, logged } = stage({ SHUTDOWN_TIMEOUT_MS: '20' })
    await run(async ({ defer }) => {
      defer('database', () => {})
      defer('relay', never)
      defer('http', () => {})
    })
    terminate()
    expect(await exited).toBe(1)
    expect(logged.at(-1)).toMatchObject({ level: 'error', orphans: ['relay', 'database'], timeoutMs: 20 })
  })

  it('waits for a start under way, and releases what that still took', async () => {
    const { run, exited, terminate, logged, said } = stage()
    const released: string[] = []
    const starting = run(async ({ defer, stopping }) => {
      await pause(60_000, stopping)
      await pause(5)
      defer('late', () => released.push('late'))
      throw new Failure('BROKER_UNAVAILABLE', 'Kafka did not answer before the stop.')
    })
    terminate()
    await starting
    expect(await exited).toBe(0)
    expect(released).toEqual(['late'])
    expect(said).toEqual([])
    expect(logged.filter(({ level }) => level === 'fatal')).toEqual([])
  })
})

describe('a service of which a part dies', () => {
  it('stops everything and exits 1', async () => {
    const { run, exited, logged } = stage()
    const released: string[] = []
    await run(async ({ defer, fail }) => {
      defer('database', () => released.push('database'))
      fail(new Failure('BROKER_UNAVAILABLE', 'The Kafka client made no progress for 60 s.'))
      await pause(5)
      defer('taken after', () => released.push('taken after'))
    })
    expect(await exited).toBe(1)
    expect(released).toEqual(['taken after', 'database'])
    expect(logged).toContainEqual(expect.objectContaining({ level: 'fatal', msg: 'a part died, stopping' }))
  })

  it('exits 1 even when a signal has already begun the stop', async () => {
    const { run, exited, terminate } = stage()
    await run(async ({ defer, fail }) => {
      defer('relay', () => {
        fail(new Error('page lost'))
      })
    })
    terminate()
    expect(await exited).toBe(1)
  })

  it('exits 1 even when a signal comes while it stops', async () => {
    const { run, exited, terminate } = stage()
    await run(async ({ fail }) => {
      fail(new Error('page lost'))
    })
    terminate()
    expect(await exited).toBe(1)
  })

  it('treats an error nobody caught the same way', async () => {
    const { run, exits, exited, bug } = stage()
    const released: string[] = []
    await run(async ({ defer }) => {
      defer('database', () => released.push('database'))
    })
    bug(new Error('nobody caught me'))
    bug(new Error('nor me'))
    expect(await exited).toBe(1)
    expect(released).toEqual(['database'])
    expect(exits).toEqual([1])
  })
})
