import { type Database, connectDatabase, sql } from '@likewise/database'
import type { Arguments } from './arguments.ts'
import type { Bed } from './bed.ts'
import { type Drain, drainLine } from './drain.ts'
import { backlogEvents, emptyOutbox, markPublished, seedBacklog } from './outbox-seed.ts'
import { drainBacklog } from './relay-drain.ts'
import { type Part, partOf } from './report.ts'

const defaultRows = 1_000_000
const longRows = 10_000_000
const rowsPerTransaction = 100_000

/** How fast a backlog is published behind rows that are published and retained, beside an empty outbox. */
export async function benchRetained(bed: Bed, { slowRepeats, long }: Arguments): Promise<Part[]> {
  const rows = long ? longRows : defaultRows
  bed.tell(
    `relay.retained: a backlog of ${String(backlogEvents)} events behind ${String(rows)} that were published and are retained ` +
      'in the outbox, vacuumed and analysed; timed as relay.drain. The limit is the same with an empty outbox.',
  )
  const [behind, empty]: [Drain[], number[]] = [[], []]
  for (let i = 1; i <= slowRepeats; i += 1) {
    await emptyOutbox(bed.catalog)
    const { perSecond } = await drainBacklog(bed)
    empty.push(perSecond)
    bed.tell(`  empty ${String(i)}/${String(slowRepeats)}  ${perSecond.toFixed(0)}/s`)
  }
  await emptyOutbox(bed.catalog)
  await retain(bed, rows)
  for (let i = 1; i <= slowRepeats; i += 1) {
    const drain = await drainBacklog(bed)
    behind.push(drain)
    bed.tell(drainLine(`retained ${String(i)}/${String(slowRepeats)}`, drain))
  }
  await emptyOutbox(bed.catalog)
  const rates = behind.map(({ perSecond }) => perSecond)
  return [partOf('relay.retained', '1/s', rates, { name: 'the relay, empty outbox', repeats: empty })]
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
