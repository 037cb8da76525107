import { setMaxListeners } from 'node:events'
import { type Database, connectDatabase, sql } from '@likewise/database'
import { topics } from '@likewise/events'
import { pause } from '@likewise/service'
import type { Arguments } from './arguments.ts'
import type { Bed } from './bed.ts'
import { drainLine } from './drain.ts'
import { emptyOutbox } from './outbox-seed.ts'
import { type Part, partOf } from './report.ts'
import { drainToTopic } from './topic-watch.ts'
import { enqueueLike, writeEvents } from './writer.ts'

const defaultMinutes = 1
const longMinutes = 10
const perSecond = 200
const writerSeconds = 10
/** The one that stays, those of the last ten seconds, and a few that are about to go. */
const connections = 1 + writerSeconds + 4
const limitMs = 600_000
const applicationName = 'likewise-bench-writers'
/** The longest a timer can be: it is ended by its signal. */
const longestMs = 2 ** 31 - 1

/** How fast a backlog is published while a transaction that has written stays open, beside the free relay before and after. */
export async function benchHeldXmin(bed: Bed, { repeats, long }: Arguments): Promise<Part[]> {
  const minutes = long ? longMinutes : defaultMinutes
  bed.tell(
    `relay.heldXmin: a transaction that has enqueued stays open, and each second another begins that commits after ` +
      `${String(writerSeconds)} s; under them a relay works for ${String(minutes)} min at ${String(perSecond)} events/s, and its ` +
      "dead rows stay; then backlogs as in relay.drain, timed by the topic's ends. The limit is without such writers.",
  )
  const [held, free]: [number[], number[]] = [[], []]
  const drain = async (name: string, rates: number[]) => {
    const measured = await drainToTopic(bed, limitMs)
    rates.push(measured.perSecond)
    bed.tell(drainLine(`${name} ${String(rates.length)}/${String(repeats)}`, measured))
  }
  await drain('free', free)
  await emptyOutbox(bed.catalog)
  await withOpenWriters(bed, async () => {
    await bed.withService('outbox-relay', {}, () =>
      writeEvents(bed.catalog, {
        ...{ topic: topics.catalogEvents, perSecond, seconds: minutes * 60, stopping: bed.stopping },
      }),
    )
    bed.tell(`  ${await readHeld(bed.catalog)}`)
    while (held.length < repeats) await drain('held', held)
  })
  await emptyOutbox(bed.catalog)
  while (free.length < repeats) await drain('free', free)
  return [partOf('relay.heldXmin', '1/s', held, { name: 'the relay without open writers', repeats: free })]
}

/** Runs `work` beside open transactions, which commit when it is done. */
async function withOpenWriters<T>(bed: Bed, work: () => Promise<T>): Promise<T> {
  const ending = new AbortController()
  const db = connectDatabase({
    url: bed.catalogUrl,
    poolSizeMax: connections,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 0, // or the server would end a transaction that lies idle
    applicationName,
  })
  try {
    const writers = runWriters(db, ending.signal)
    const failed = writers.then(() => new Promise<never>(() => undefined)) // never resolves before `work`
    try {
      return await Promise.race([work(), failed])
    } finally {
      ending.abort()
      await writers.catch(() => undefined)
    }
  } finally {
    await db.stop()
  }
}

async function runWriters(db: Database, ending: AbortSignal): Promise<void> {
  const failed = new AbortController()
  const over = AbortSignal.any([ending, failed.signal])
  setMaxListeners(connections + 1, over) // one for each that is open, and the loop's
  const write = (i: number, forMs: number) => {
    const written = db.tx(async (tx) => {
      await enqueueLike(tx, topics.catalogEvents, i)
      await pause(forMs, over)
    })
    written.catch(() => {
      failed.abort() // thrown below, when all are over
    })
    return written
  }
  const open = [write(0, longestMs)]
  for (let i = 1; !over.aborted; i += 1) {
    open.push(write(i, writerSeconds * 1000))
    await pause(1_000, over)
  }
  await Promise.all(open)
}

/** What is held when the backlog begins. Dead rows as the statistics have them, of all tables from which rows are deleted. */
async function readHeld(db: Database): Promise<string> {
  const [row] = await db.query<{ open: number; rows: number; dead: number }>(sql`
    select (select count(*)::int from pg_stat_activity
            where application_name = ${applicationName} and backend_xid is not null) as open,
           sum(n_live_tup)::float8 as rows, sum(n_dead_tup)::float8 as dead
    from pg_stat_user_tables
    where schemaname = 'catalog' and relname in ('outbox_cursors', 'outbox_leases', 'outbox_relays', 'outbox_positions')`)
  const { open, rows, dead } = row ?? { open: 0, rows: 0, dead: 0 }
  return `${String(open)} transactions are open; the relay's tables have ${String(rows)} rows and ${String(dead)} dead ones`
}
