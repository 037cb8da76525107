import { sql } from '@likewise/database'
import { type TestDatabase, freshDatabase } from '@likewise/database/testing'
import type { OutboxEvent } from '../page.ts'
import type { WalLimits } from './run-wal.ts'
import { type WalSwitchOptions, disableWal, enableWal } from './switch.ts'
import { walName } from './slot.ts'
import { type WalStream, type WalStreamOptions, openWal } from './stream.ts'

/** Small batches and short waits, so that a test sees many of each. */
export const limits: WalLimits = {
  batchRowsMax: 50,
  batchBytesMax: 900_000,
  waitingBytesMax: 1_000_000,
  senderTimeoutMs: 2_000,
  stepMs: 300,
  backoffBaseMs: 10,
  backoffCapMs: 100,
}

/** A database with a slot name of its own: names of slots belong to the server, which the tests share. */
export interface WalTest extends TestDatabase {
  slot: string
  switch: WalSwitchOptions
  open: (options?: Partial<WalStreamOptions>) => Promise<WalStream>
}

export async function walDatabase(name: string): Promise<WalTest> {
  const test = await freshDatabase(name)
  const slot = `lw_${test.url.slice(-12)}`
  return {
    ...test,
    slot,
    // A slot waits for whoever writes on the server, other test files among them.
    switch: { db: test.db, url: test.url, patienceMs: 50_000, say: () => undefined, slot },
    open: (options) =>
      openWal({
        url: test.url,
        slot,
        publication: walName,
        applicationName: 'test',
        connectTimeoutMs: 5_000,
        senderTimeoutMs: 5_000,
        waitingBytesMax: 4_000_000,
        ...options,
      }),
  }
}

/** WAL mode from nothing: what a database that has published everything looks like afterwards. */
export async function enabled(test: WalTest): Promise<void> {
  await publishAll(test)
  await enableWal(test.switch)
}

/** Back to polling, with nothing left to publish, so that tests do not see each other's rows. */
export async function disabled(test: WalTest): Promise<void> {
  await disableWal(test.switch)
}

/** Stands in for relays that have published everything: all cursors on one snapshot. */
export async function publishAll({ db }: Pick<WalTest, 'db'>): Promise<void> {
  await db.execute(sql`
    insert into catalog.outbox_cursors (shard, n, from_snapshot, to_snapshot, last_seq, after_seq, epoch)
    select shard, max(n) + 1, pg_current_snapshot(), pg_current_snapshot(), 0, 0, 0
    from catalog.outbox_cursors group by shard`)
}

export const never: AbortSignal = new AbortController().signal

/** Reads events until there are `count`, confirming nothing. */
export async function readEvents(stream: WalStream, count: number, rowsMax = 500): Promise<OutboxEvent[]> {
  const events: OutboxEvent[] = []
  while (events.length < count) {
    const batch = await stream.read({ rowsMax, bytesMax: 1_000_000 }, never)
    events.push(...(batch?.events ?? []))
  }
  return events
}
