import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '@likewise/service'
import { errorCode } from './error-code.ts'
import { type ProcessIdentity, isAlive, isIdentity, startTimeOf } from './process-records.ts'

/** Between its making and its writing a claim is empty for microseconds; one that stays so was left by a kill. */
const emptyMs = 2_000
const triesMax = 5

/**
 * Makes this process the only `npm start` of a home, by `<home>/start.json`, before it has any process on record. Returns
 * what gives the home back, which happens at exit too. Throws ALREADY_RUNNING while another one has it; the claim of a
 * process that was killed counts for nothing.
 */
export function claimHome(home: string): () => void {
  const file = join(home, 'start.json')
  const own = JSON.stringify({ pid: process.pid, startTime: startTimeOf(process.pid) })
  mkdirSync(home, { recursive: true })
  for (let tries = 0; !makeClaim(file, own); tries++) {
    const text = readClaim(file)
    const holder = text === undefined ? undefined : holderOf(file, text)
    if (holder !== undefined || tries >= triesMax) throw inUse(home, holder)
    if (text !== undefined) removeStale(file, text) // else it was given back just now
  }
  const release = () => {
    process.off('exit', release)
    if (readClaim(file) === own) rmSync(file, { force: true })
  }
  process.on('exit', release)
  return release
}

/** Whether an `npm start` runs this home. */
export function isClaimed(home: string): boolean {
  const file = join(home, 'start.json')
  const text = readClaim(file)
  return text !== undefined && holderOf(file, text) !== undefined
}

function makeClaim(file: string, text: string): boolean {
  try {
    writeFileSync(file, text, { flag: 'wx' })
    return true
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false
    throw error
  }
}

/** The process that has the home; undefined when it runs no more. */
function holderOf(file: string, text: string): Partial<ProcessIdentity> | undefined {
  try {
    const holder = JSON.parse(text) as Partial<ProcessIdentity> | null
    return isIdentity(holder) && isAlive(holder) ? holder : undefined
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    const madeMs = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
    return Date.now() - madeMs < emptyMs ? {} : undefined
  }
}

/** Two starts may find the same stale claim: the slower one must not take the quicker one's new claim away. */
function removeStale(file: string, stale: string): void {
  const aside = `${file}.${process.pid}`
  try {
    renameSync(file, aside)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return
    throw error
  }
  const taken = readClaim(aside)
  if (taken !== undefined && taken !== stale) makeClaim(file, taken)
  rmSync(aside, { force: true })
}

function readClaim(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

function inUse(home: string, { pid }: Partial<ProcessIdentity> = {}): Failure {
  const who = pid === undefined ? 'another process' : `process ${pid}`
  return new Failure('ALREADY_RUNNING', `${home} is in use by ${who}. Stop that process first.`, {
    details: { home, ...(pid !== undefined && { pid }) },
  })
}
