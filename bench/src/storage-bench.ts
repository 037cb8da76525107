import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Database, raw, sql } from '@likewise/database'
import { topics } from '@likewise/events'
import { readMarks } from '@likewise/inbox'
import { pause } from '@likewise/service'
import type { Bed } from './bed.ts'
import { backlogEvents, emptyOutbox } from './outbox-seed.ts'
import { productCount } from './records.ts'
import { drainBacklog } from './relay-drain.ts'
import { type Part, partOf } from './report.ts'
import { countRecords } from './topic-watch.ts'

const group = 'bench-storage'
const limitMs = 120_000

/**
 * How many bytes of disk each thing takes that stays for a while, indexes included: what `likewise size` reckons with. It is
 * the same however busy the machine is, so it is measured once.
 */
export async function benchStorage(bed: Bed): Promise<Part[]> {
  bed.tell(
    `storage: ${String(backlogEvents)} likes over ${String(productCount)} products on their whole way; bytes on disk of each, ` +
      'indexes included, before any vacuum.',
  )
  await emptyOutbox(bed.catalog)
  const before = await logBytes(bed)
  const recordsBefore = await countRecords(bed)
  await insertLikes(bed.catalog)
  await drainBacklog(bed)
  const sent = (await countRecords(bed)) - recordsBefore
  await handleAll(bed)
  const after = await logBytes(bed)
  const bytes = {
    'storage.like': await bytesPerRow(bed.catalog, 'catalog.likes'),
    'storage.outboxEvent': await bytesPerRow(bed.catalog, 'catalog.outbox_events'),
    'storage.handledEvent': await bytesPerRow(bed.metrics, 'metrics.event_handled'),
    'storage.bucket': await bytesPerRow(bed.metrics, 'metrics.product_like_windows'),
    'storage.product': await bytesPerRow(bed.metrics, 'metrics.product_metrics'),
    ...(before !== undefined && after !== undefined && { 'storage.record': (after - before) / sent }),
  }
  await emptyOutbox(bed.catalog)
  return Object.entries(bytes).map(([name, value]) => partOf(name, 'B', [value]))
}

/** In the order of no key, as users come: an index that is filled in order would be a third smaller. */
async function insertLikes(db: Database): Promise<void> {
  await db.execute(sql`
    insert into catalog.likes (user_id, product_id)
    select user_id, user_id % ${productCount}::int + 1
    from generate_series(1, ${backlogEvents}::int) as user_id order by hashint4(user_id)
    on conflict do nothing`)
}

async function handleAll(bed: Bed): Promise<void> {
  const records = await countRecords(bed)
  await bed.withService('metrics-consumer', { CONSUMER_GROUP: group }, async () => {
    const deadlineMs = performance.now() + limitMs
    for (;;) {
      bed.stopping.throwIfAborted()
      const marks = await readMarks(bed.metrics, group, topics.catalogEvents)
      if (marks.reduce((sum, { nextOffset }) => sum + Number(nextOffset), 0) >= records) return
      if (performance.now() > deadlineMs) throw new Error(`Not handled within ${String(limitMs / 1000)} s.`)
      await pause(100, bed.stopping)
    }
  })
}

/** Of a ring only the slots that hold rows: the empty ones take the same few pages at any size. */
async function bytesPerRow(db: Database, table: string): Promise<number> {
  const [row] = await db.query<{ bytes: number }>(sql`
    select coalesce(sum(pg_total_relation_size(relid)), pg_total_relation_size(${table}::regclass))::float8
           / (select count(*) from ${raw(table)}) as bytes
    from pg_partition_tree(${table}::regclass) where isleaf and pg_relation_size(relid) > 0`)
  return row?.bytes ?? 0
}

/** Of catalog-events, where the broker's files are at hand: its indexes are made large and cut later, so they do not count. */
async function logBytes({ home, servers }: Bed): Promise<number | undefined> {
  if (servers.kind !== 'embedded') return undefined
  const data = join(home, 'kafka', 'data')
  const partitions = (await readdir(data)).filter((name) => name.startsWith(`${topics.catalogEvents}-`))
  const files = await Promise.all(
    partitions.map(async (partition) =>
      (await readdir(join(data, partition)))
        .filter((name) => name.endsWith('.log'))
        .map((name) => join(data, partition, name)),
    ),
  )
  const sizes = await Promise.all(files.flat().map(async (file) => (await stat(file)).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}
