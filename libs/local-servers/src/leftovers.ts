import { Failure } from '@likewise/service'
import { errorCode } from './error-code.ts'
import { isAlive, readRecords, removeRecord, startTimeOf } from './process-records.ts'
import type { ProcessRecord } from './process-records.ts'
import { until } from './until.ts'

/** Longer than PostgreSQL's checkpoint or Kafka's flush of a busy laptop took; then the process is killed. */
const graceMs = 15_000
const killedMs = 5_000

/**
 * Ends what an earlier run of this home left behind because it was killed itself, and nothing else: a process is ended
 * only if pid and start time are those on record. Returns the ones it ended. Throws ALREADY_RUNNING, and touches
 * nothing, while the process that started them still runs.
 */
export async function endLeftovers(home: string): Promise<ProcessRecord[]> {
  const records = readRecords(home)
  const alive = records.filter(isAlive)
  const inUse = alive.find((record) => isAlive(record.owner))
  if (inUse !== undefined) {
    throw new Failure(
      'ALREADY_RUNNING',
      `${home} is in use: process ${inUse.owner.pid} runs its ${inUse.name}. Stop that process first.`,
      { details: { home, pid: inUse.owner.pid } },
    )
  }
  const isServer = (record: ProcessRecord) => record.name === 'postgres' || record.name === 'kafka'
  // What uses the servers goes first, so that it can still finish what it is doing.
  await Promise.all(alive.filter((record) => !isServer(record)).map(end))
  await Promise.all(alive.filter(isServer).map(end))
  for (const record of records) removeRecord(home, record)
  return alive
}

/** Ends, in order, what this process has started in this home (under `name`, if told), whoever waits for it. */
export async function endOwn(home: string, name?: string): Promise<void> {
  const own = ownRecords(home)
  await Promise.all((name === undefined ? own : own.filter((record) => record.name === name)).map(end))
}

/** Kills all that this process has started in this home, without waiting: for a process that ends at once. */
export function killOwn(home: string): void {
  for (const record of ownRecords(home)) {
    signal(record, 'SIGKILL')
    removeRecord(home, record)
  }
}

function ownRecords(home: string): ProcessRecord[] {
  const startTime = startTimeOf(process.pid)
  return readRecords(home).filter(({ owner }) => owner.pid === process.pid && owner.startTime === startTime)
}

async function end(record: ProcessRecord): Promise<void> {
  // PostgreSQL's SIGINT is its fast shutdown; on SIGTERM it would wait for its clients.
  signal(record, record.name === 'postgres' ? 'SIGINT' : 'SIGTERM')
  if (await until(() => !isAlive(record), graceMs)) return
  signal(record, 'SIGKILL')
  if (await until(() => !isAlive(record), killedMs)) return
  throw new Failure(
    'ALREADY_RUNNING',
    `${record.name}, process ${record.pid} of an earlier run, does not end.`,
    {
      details: { name: record.name, pid: record.pid },
    },
  )
}

function signal(record: ProcessRecord, name: NodeJS.Signals): void {
  if (!isAlive(record)) return
  try {
    process.kill(record.pid, name)
  } catch (error) {
    if (errorCode(error) !== 'ESRCH') throw error
  }
}
