import { topics } from '@likewise/events'
import { readTopicEnds } from '@likewise/kafka'
import type { Bed } from './bed.ts'
import { type Drain, drainOf, watchDrain } from './drain.ts'
import { backlogEvents, seedBacklog } from './outbox-seed.ts'

/** Each look at the topic opens a connection; more of them would take CPU time from what is measured. */
const lookEveryMs = 200

/** All records that were ever sent to the topic. */
export async function countRecords(bed: Bed, topic: string = topics.catalogEvents): Promise<number> {
  const ends = await readTopicEnds(bed.kafka, topic)
  return ends.reduce((sum, { end }) => sum + Number(end), 0)
}

/** Watches a process until so many records have come to the topic since `before`, whatever way it has read them. */
export async function watchTopic(
  bed: Bed,
  options: { pid: number; before: number; events: number; limitMs?: number },
): Promise<Drain> {
  const { before, events, ...watch } = options
  const { first, last } = await watchDrain({
    ...watch,
    stopping: bed.stopping,
    everyMs: lookEveryMs,
    read: async () => (await countRecords(bed)) - before,
    hasBegun: (sent) => sent > 0,
    isDone: (sent) => sent >= events,
  })
  return drainOf({ first, last, events: last.progress - first.progress })
}

/** Leaves a backlog and lets a relay that is started then publish it; timed by what comes to the topic. */
export async function drainToTopic(bed: Bed, limitMs?: number): Promise<Drain> {
  await seedBacklog(bed.catalog, backlogEvents)
  const before = await countRecords(bed)
  return bed.withService('outbox-relay', {}, ({ process }) =>
    watchTopic(bed, {
      pid: process.pid,
      before,
      events: backlogEvents,
      ...(limitMs !== undefined && { limitMs }),
    }),
  )
}
