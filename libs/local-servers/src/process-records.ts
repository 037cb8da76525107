import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode } from './error-code.ts'

/** A pid alone does not name a process: pids are used again. A pid with its start time does. */
export interface ProcessIdentity {
  pid: number
  startTime: string
}

/** What `<home>/run/<name>.json` says about a process; `owner` is the process that started it. */
export interface ProcessRecord extends ProcessIdentity {
  name: string
  owner: ProcessIdentity
}

/** True while exactly this process runs: not its successor under the same pid, not a zombie. */
export function isAlive(identity: ProcessIdentity): boolean {
  return startTimeOf(identity.pid) === identity.startTime
}

/** Undefined when no such process runs; a zombie, which only waits to be collected, does not run. */
export function startTimeOf(pid: number): string | undefined {
  return process.platform === 'linux' ? startTimeFromProc(pid) : startTimeFromPs(pid)
}

function startTimeFromProc(pid: number): string | undefined {
  const stat = readIfPresent(`/proc/${pid}/stat`)
  if (stat === undefined) return undefined
  // Field 2 is the command in brackets and may itself hold blanks and brackets; count from the last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, ticksSinceBoot] = [fields[0], fields[19]]
  if (state === undefined || ticksSinceBoot === undefined || 'ZX'.includes(state)) return undefined
  // Virtual machines boot alike: the same pid at the same tick of another boot is another process.
  const boot = readIfPresent('/proc/sys/kernel/random/boot_id')?.trim() ?? ''
  return `${ticksSinceBoot}@${boot}`
}

function startTimeFromPs(pid: number): string | undefined {
  try {
    const line = execFileSync('ps', ['-o', 'state=', '-o', 'lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' },
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
    if (line === '' || line.startsWith('Z')) return undefined
    return line.slice(line.indexOf(' ')).trim()
  } catch (error) {
    if (hasStatus(error)) return undefined // ps exits 1 when there is no such process
    throw error
  }
}

function hasStatus(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'status' in error && error.status === 1
}

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    // ESRCH: the process ended between open and read.
    if (['ENOENT', 'ESRCH'].includes(String(errorCode(error)))) return undefined
    throw error
  }
}

/** Synchronous on purpose: a record must exist before anything else can happen to its process's parent. */
export function writeRecord(home: string, record: ProcessRecord): void {
  const file = recordFile(home, record.name)
  mkdirSync(join(home, 'run'), { recursive: true })
  writeFileSync(`${file}.new`, `${JSON.stringify(record)}\n`)
  renameSync(`${file}.new`, file)
}

/** Removes the record of this process; a record of the same name by another process stays. */
export function removeRecord(home: string, record: ProcessRecord): void {
  const file = recordFile(home, record.name)
  const present = parseRecord(readIfPresent(file))
  if (present?.pid === record.pid && present.startTime === record.startTime) rmSync(file, { force: true })
}

/** All records of a home. What is not a record any more is dropped: it names no process, so nobody can be ended by it. */
export function readRecords(home: string): ProcessRecord[] {
  return recordFiles(home).flatMap((file) => {
    const record = parseRecord(readIfPresent(join(home, 'run', file)))
    if (record === undefined) rmSync(join(home, 'run', file), { force: true })
    return record ?? []
  })
}

function recordFiles(home: string): string[] {
  try {
    return readdirSync(join(home, 'run')).filter((file) => file.endsWith('.json'))
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return []
    throw error
  }
}

function recordFile(home: string, name: string): string {
  return join(home, 'run', `${name}.json`)
}

function parseRecord(text: string | undefined): ProcessRecord | undefined {
  try {
    const value = JSON.parse(text ?? '') as Partial<ProcessRecord> | null
    const { name, pid, startTime, owner } = value ?? {}
    if (typeof name !== 'string' || !isIdentity({ pid, startTime }) || !isIdentity(owner)) return undefined
    return value as ProcessRecord
  } catch (error) {
    if (error instanceof SyntaxError) return undefined // half-written or not ours
    throw error
  }
}

export function isIdentity(
  value: { pid?: unknown; startTime?: unknown } | null | undefined,
): value is ProcessIdentity {
  const { pid, startTime } = value ?? {}
  return typeof pid === 'number' && Number.isInteger(pid) && pid > 1 && typeof startTime === 'string'
}
