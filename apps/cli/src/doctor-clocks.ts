import { type Database, sql } from '@likewise/database'
import { type Check, fail, looked, ok, warn } from './doctor.ts'
import { age } from './table.ts'

const warnMs = 5_000
/** An id that is a day ahead of the metrics database's clock is parked as from_future. */
const failMs = 3_600_000
const tries = 3

interface Reading {
  /** Of the server, less ours. */
  offsetMs: number
  /** It may be off by so much. */
  unsureMs: number
}

/** Whether the clocks agree: events get their ids by that of the catalog database, and are judged by that of the metrics one. */
export async function checkClocks({
  catalog,
  metrics,
}: {
  catalog: Database
  metrics: Database
}): Promise<Check[]> {
  return looked('clocks', async () => {
    const [one, other] = [await readClock(catalog), await readClock(metrics)]
    const apart = Math.abs(one.offsetMs - other.offsetMs) - one.unsureMs - other.unsureMs
    const here = Math.abs(other.offsetMs) - other.unsureMs
    const todo = 'Keep all machines in time (chrony, ntpd).'
    if (apart > failMs)
      return fail('clocks', `the two databases are ${age(apart)} apart: events a day ahead are parked as from_future`, todo) // prettier-ignore
    if (apart > warnMs) return warn('clocks', `the two databases are ${age(apart)} apart`, todo)
    if (here > warnMs)
      return warn('clocks', `this machine is ${age(here)} ${other.offsetMs > 0 ? 'behind' : 'ahead of'} the databases; nothing is decided by it, but its times mislead`, todo) // prettier-ignore
    return ok('clocks', 'the databases and this machine agree')
  })
}

async function readClock(db: Database): Promise<Reading> {
  const readings: Reading[] = []
  for (let i = 0; i < tries; i += 1) {
    const begunMs = performance.now()
    const [row] = await db.query<{ ms: number }>(
      sql`select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms`,
    )
    const tookMs = performance.now() - begunMs
    readings.push({ offsetMs: (row?.ms ?? 0) - (Date.now() - tookMs / 2), unsureMs: tookMs / 2 })
  }
  return readings.reduce((best, one) => (one.unsureMs < best.unsureMs ? one : best))
}
