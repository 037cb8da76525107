import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readFile, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { claimHome } from './home-claim.ts'
import { endLeftovers, endOwn, killOwn } from './leftovers.ts'
import { isAlive, readRecords, startTimeOf, writeRecord } from './process-records.ts'
import type { ProcessRecord } from './process-records.ts'
import { startProcess } from './processes.ts'
import { temporaryHome } from './testing.ts'
import type { TemporaryHome } from './testing.ts'

/** A pid that is no process: above every system's maximum. */
const gone = { pid: 2 ** 30, startTime: 'long ago' }

let temporary: TemporaryHome
let home: string
let children: ChildProcess[]

beforeEach(async () => {
  temporary = await temporaryHome()
  home = temporary.home
  children = []
})
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  await temporary.remove()
})

/** A process as a killed run leaves it: recorded, its owner gone. */
async function leaveBehind(options: { name: string; script?: string; changes?: Partial<ProcessRecord> }) {
  const child = spawn('/bin/sh', ['-c', options.script ?? 'exec sleep 1000'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  children.push(child)
  const exit = once(child, 'exit')
  if (options.script !== undefined) await once(child.stdout, 'data')
  const pid = child.pid ?? 0
  const record = {
    name: options.name,
    pid,
    startTime: startTimeOf(pid) ?? '',
    owner: gone,
    ...options.changes,
  }
  writeRecord(home, record)
  return { record, exit, isRunning: () => startTimeOf(pid) !== undefined }
}

function start(name: string, script: string) {
  const logFile = join(home, 'logs', `${name}.log`)
  return startProcess({ home, name, command: '/bin/sh', args: ['-c', script], logFile })
}

describe('leftovers', () => {
  it('ends what a killed run left behind and forgets it', async () => {
    const left = await leaveBehind({ name: 'like-api' })
    expect(await endLeftovers(home)).toMatchObject([{ name: 'like-api', pid: left.record.pid }])
    expect(left.isRunning()).toBe(false)
    expect(await left.exit).toEqual([null, 'SIGTERM'])
    expect(readRecords(home)).toEqual([])
  })

  it('ends PostgreSQL by SIGINT, which does not wait for clients', async () => {
    const left = await leaveBehind({ name: 'postgres' })
    await endLeftovers(home)
    expect(await left.exit).toEqual([null, 'SIGINT'])
  })

  it('leaves alone a process that got the pid of a recorded one', async () => {
    const other = await leaveBehind({ name: 'kafka', changes: { startTime: 'another time' } })
    expect(await endLeftovers(home)).toEqual([])
    expect(other.isRunning()).toBe(true)
    expect(readRecords(home)).toEqual([])
  })

  it('touches nothing while the run that started it still runs', async () => {
    const own = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '' }
    const left = await leaveBehind({ name: 'kafka', changes: { owner: own } })
    await expect(endLeftovers(home)).rejects.toMatchObject({ code: 'ALREADY_RUNNING' })
    expect(left.isRunning()).toBe(true)
    expect(readRecords(home)).toHaveLength(1)
    children.at(-1)?.kill('SIGKILL')
    await left.exit
  })

  it('drops a record that names no process', async () => {
    await leaveBehind({ name: 'kafka' })
    await writeFile(join(home, 'run', 'torn.json'), '{"pid":1')
    await writeFile(
      join(home, 'run', 'init.json'),
      JSON.stringify({ name: 'x', pid: 1, startTime: 'a', owner: gone }),
    )
    expect(await endLeftovers(home)).toHaveLength(1)
    expect(existsSync(join(home, 'run', 'torn.json'))).toBe(false)
    expect(existsSync(join(home, 'run', 'init.json'))).toBe(false)
  })

  it('finds nothing in a home that never was', async () => {
    expect(await endLeftovers(join(home, 'nowhere'))).toEqual([])
  })
})

describe('what this process has started itself', () => {
  it('is killed at once, and nothing that another one started', async () => {
    const mine = await start('mine', `trap '' TERM; while :; do sleep 0.05; done`)
    const other = await leaveBehind({ name: 'other' })
    killOwn(home)
    expect(await mine.exited).toEqual({ code: null, signal: 'SIGKILL' })
    expect(other.isRunning()).toBe(true)
    expect(readRecords(home)).toMatchObject([{ name: 'other' }])
  })

  it('is ended in order, by name', async () => {
    const [kafka, api] = await Promise.all([
      start('kafka', 'exec sleep 1000'),
      start('api', 'exec sleep 1000'),
    ])
    await endOwn(home, 'kafka')
    expect(await kafka.exited).toEqual({ code: null, signal: 'SIGTERM' })
    expect(api.hasExited()).toBe(false)
    await endOwn(home)
    expect(await api.exited).toEqual({ code: null, signal: 'SIGTERM' })
  })
})

describe('claimHome', () => {
  const claim = () => join(home, 'start.json')

  it('is refused, naming the process, while another one has the home', async () => {
    const other = await leaveBehind({ name: 'other' })
    await writeFile(claim(), JSON.stringify(other.record))
    expect(() => claimHome(home)).toThrow(`in use by process ${other.record.pid}`)
    expect(JSON.parse(await readFile(claim(), 'utf8'))).toEqual(other.record)
  })

  it('gives the home back, once, and then somebody else may have it', () => {
    const release = claimHome(home)
    expect(() => claimHome(home)).toThrow(`in use by process ${process.pid}`)
    release()
    const again = claimHome(home)
    release()
    again()
    expect(existsSync(claim())).toBe(false)
  })

  it.each(['null', '{}', '{"pid":', JSON.stringify(gone)])(
    'counts %j, left by a kill, for nothing',
    async (text) => {
      await mkdir(home, { recursive: true })
      await writeFile(claim(), text)
      await utimes(claim(), 0, 0)
      const release = claimHome(home)
      expect(JSON.parse(await readFile(claim(), 'utf8'))).toMatchObject({ pid: process.pid })
      expect(await readdir(home)).toEqual(['start.json'])
      release()
    },
  )

  it('that is just being made is respected', async () => {
    await mkdir(home, { recursive: true })
    await writeFile(claim(), '')
    expect(() => claimHome(home)).toThrow('in use by another process')
  })
})

describe('startProcess', () => {
  it('records the process while it runs, in a session of its own', async () => {
    const running = await start('sleeper', 'exec sleep 1000')
    const [record] = readRecords(home)
    expect(record).toMatchObject({ name: 'sleeper', pid: running.pid, owner: { pid: process.pid } })
    expect(record && isAlive(record)).toBe(true)
    expect(await running.stop('SIGTERM', 5_000)).toEqual({ code: null, signal: 'SIGTERM' })
    expect(record && isAlive(record)).toBe(false)
    expect(readRecords(home)).toEqual([])
  })

  it('kills a process that does not mind being asked', async () => {
    const running = await start('deaf', `trap '' TERM; echo ready; while :; do sleep 0.05; done`)
    while (!(await running.output()).includes('ready')) await new Promise((resolve) => setImmediate(resolve))
    expect(await running.stop('SIGTERM', 100)).toEqual({ code: null, signal: 'SIGKILL' })
  })

  it('keeps what the process wrote, and tells this start from those before', async () => {
    await (
      await start('talker', 'echo first')
    ).exited
    const second = await start('talker', 'echo second >&2; exit 3')
    expect(await second.exited).toEqual({ code: 3, signal: null })
    expect(await second.output()).toBe('second\n')
    expect(await readFile(join(home, 'logs', 'talker.log'), 'utf8')).toBe('first\nsecond\n')
  })

  it('rejects when there is no such program', async () => {
    const logFile = join(home, 'logs', 'none.log')
    const started = startProcess({ home, name: 'none', command: '/no/such/program', args: [], logFile })
    await expect(started).rejects.toMatchObject({ code: 'ENOENT' })
    expect(readRecords(home)).toEqual([])
  })
})
