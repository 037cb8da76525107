import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '@likewise/service'
import { errorCode } from './error-code.ts'
import {
  type ProcessIdentity,
  type ProcessRecord,
  isAlive,
  readRecords,
  startTimeOf,
} from './process-records.ts'
import { until } from './until.ts'

type Server = 'postgres' | 'kafka'

// PostgreSQL's SIGINT is its fast shutdown; on SIGTERM it would wait for its clients.
const endings = { postgres: 'SIGINT', kafka: 'SIGTERM' } as const
// Kafka's orderly end takes 1 to 4 s here, its start 2 s; both can be many times slower on a busy machine.
const endMs = 30_000
const returnMs = 90_000

/** The server that a living `npm start` of this home runs; undefined when there is none, or it is somebody else's. */
export function runningServer(home: string, name: Server): ProcessRecord | undefined {
  return readRecords(home).find((record) => record.name === name && isAlive(record) && isAlive(record.owner))
}

/**
 * Ends a server of a living `npm start` and keeps it down until the returned function is called, which resolves when a
 * new process runs (it may not answer yet). Whatever ends this process, the server comes back: the hold is taken away
 * at exit, and one whose maker was killed holds nothing.
 */
export async function stopServerForAWhile(home: string, name: Server): Promise<() => Promise<void>> {
  const server = runningServer(home, name)
  if (server === undefined)
    throw new Failure('NOT_FOUND', `${name} of ${home} is not run by an npm start here.`)
  if (isHeld(home, name))
    throw new Failure('ALREADY_RUNNING', `Somebody else holds ${name} down: ${holdFile(home, name)}.`)
  const maker: ProcessIdentity = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '' }
  writeFileSync(holdFile(home, name), `${JSON.stringify(maker)}\n`)
  const release = () => {
    rmSync(holdFile(home, name), { force: true })
  }
  process.once('exit', release)
  const letGo = () => {
    release()
    process.off('exit', release)
  }
  try {
    process.kill(server.pid, endings[name])
    if (!(await until(() => !isAlive(server), endMs)))
      throw new Failure('ALREADY_RUNNING', `${name} (process ${server.pid}) does not end.`)
  } catch (error) {
    letGo()
    throw error
  }
  return async () => {
    letGo()
    if (await until(() => runningServer(home, name) !== undefined, returnMs)) return
    throw new Failure('NOT_FOUND', `${name} was not started again; look at the output of npm start.`)
  }
}

/** True while `<home>/<name>.hold` says so: an empty file, made by hand, or one whose maker still runs. */
export function isHeld(home: string, name: string): boolean {
  try {
    const text = readFileSync(holdFile(home, name), 'utf8').trim()
    return text === '' || isAlive(JSON.parse(text) as ProcessIdentity)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false
    if (error instanceof SyntaxError) return true // made by hand
    throw error
  }
}

const holdFile = (home: string, name: string): string => join(home, `${name}.hold`)
