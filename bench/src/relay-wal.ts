import { disableWal, enableWal } from '@likewise/outbox'
import { Failure } from '@likewise/service'
import type { Arguments } from './arguments.ts'
import type { Bed } from './bed.ts'
import { type Drain, drainLine, partsOfDrains } from './drain.ts'
import { backlogEvents, emptyOutbox } from './outbox-seed.ts'
import type { Part } from './report.ts'
import { drainToTopic } from './topic-watch.ts'

const patienceMs = 30_000

/** How fast the same backlog is published from the WAL, in turns with polling, both timed the same way. */
export async function benchWal(bed: Bed, { repeats }: Arguments): Promise<Part[]> {
  bed.tell(
    `relay.drain.wal: a backlog of ${String(backlogEvents)} events in the WAL, one relay process; timed, as the drain by ` +
      "polling beside it, by the topic's ends, from the first look that shows records to the last.",
  )
  const [drains, polls]: [Drain[], Drain[]] = [[], []]
  for (let i = 1; i <= repeats; i += 1) {
    const poll = await drainToTopic(bed)
    const wal = await withWal(bed, () => drainToTopic(bed))
    if (wal === null) return []
    polls.push(poll)
    drains.push(wal)
    const name = `wal ${String(i)}/${String(repeats)}`
    bed.tell(`${drainLine(name, wal)}; by polling ${poll.perSecond.toFixed(0)}/s`)
  }
  return partsOfDrains({ area: 'relay', variant: 'wal' }, drains, {
    name: 'the relay, polling',
    repeats: polls.map(({ perSecond }) => perSecond),
  })
}

/** Runs `work` with an outbox that is read from the WAL, from a slot that begins now; null where that cannot be. */
async function withWal<T>(bed: Bed, work: () => Promise<T>): Promise<T | null> {
  const change = { db: bed.catalog, url: bed.catalogUrl, patienceMs, say: () => undefined }
  await emptyOutbox(bed.catalog) // no relay runs that would publish what is left
  try {
    await enableWal(change)
  } catch (error) {
    if (!(error instanceof Failure && error.code === 'SLOT_UNUSABLE')) throw error
    bed.tell(`  left out: ${error.message}`)
    return null
  }
  try {
    return await work()
  } finally {
    await disableWal(change)
    await emptyOutbox(bed.catalog) // the cursors step a few seconds behind the WAL: nothing of it is to be sent again
  }
}
