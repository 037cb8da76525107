import { type Database, connectDatabase, sql } from '@likewise/database'
import type { Arguments } from './arguments.ts'
import type { Bed } from './bed.ts'
import { drainLine } from './drain.ts'
import { backlogEvents, emptyOutbox, markPublished, seedBacklog } from './outbox-seed.ts'
import { drainBacklog } from './relay-drain.ts'
import { type Part, partOf } from './report.ts'

const defaultRows = 1_000_000
const longRows = 10_000_000
const rowsPerTransaction = 100_000

/** How fast a backlog is published behind rows that are published and retained, beside an empty outbox. */
export async function benchRetained(bed: Bed, { repeats, long }: Arguments): Promise<Part[]> {
  const rows = long ? longRows : defaultRows
  bed.tell(
    `relay.retained: a backlog of ${String(backlogEvents)} events behind ${String(rows)} that were published and are retained ` +
      'in the outbox, vacuumed and analysed; timed as relay.drain. The limit is the same with an empty outbox.',
  )
  const [behind, empty]: [number[], number[]] = [[], []]
  const drain = async (name: string, rates: number[]) => {
    const measured = await drainBacklog(bed)
    rates.push(measured.perSecond)
    bed.tell(drainLine(`${name} ${String(rates.length)}/${String(repeats)}`, measured))
  }
  const drainEmpty = async () => {
    await emptyOutbox(bed.catalog)
    await drain('empty', empty)
  }
  await drainEmpty()
  await emptyOutbox(bed.catalog)
  await retain(bed, rows)
  while (behind.length < repeats) await drain('retained', behind)
  while (empty.length < repeats) await drainEmpty()
  await emptyOutbox(bed.catalog)
  return [partOf('relay.retained', '1/s', behind, { name: 'the relay, empty outbox', repeats: empty })]
}

async function retain(bed: Bed, rows: number): Promise<void> {
  const db = connectDatabase({
    url: bed.catalogUrl,
    poolSizeMax: 1,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 0, // a vacuum of ten million rows takes minutes
    applicationName: 'likewise-bench',
  })
  try {
    for (let left = rows; left > 0; left -= rowsPerTransaction) {
      bed.stopping.throwIfAborted()
      await seedBacklog(db, Math.min(left, rowsPerTransaction), rowsPerTransaction)
    }
    await markPublished(db)
    await db.execute(sql`vacuum (analyze) catalog.outbox_events`)
    bed.tell(`  ${String(rows)} rows retained: ${await readSize(db)}`)
  } finally {
    await db.stop()
  }
}

async function readSize(db: Database): Promise<string> {
  const [row] = await db.query<{ tableMb: number; indexMb: number }>(sql`
    select sum(pg_table_size(relid)) / 1048576.0::float8 as "tableMb",
           sum(pg_indexes_size(relid)) / 1048576.0::float8 as "indexMb"
    from pg_partition_tree('catalog.outbox_events') where isleaf`)
  return `${(row?.tableMb ?? 0).toFixed(0)} MB of table, ${(row?.indexMb ?? 0).toFixed(0)} MB of indexes`
}
