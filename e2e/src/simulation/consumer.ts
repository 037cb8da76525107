import {
  type InboxRecord,
  type Look,
  type Start,
  aloneBelow,
  checkLog,
  startAlone,
  viewOf,
} from '@likewise/inbox/decisions'
import type { Broker, Fetched } from './broker.ts'
import type { Inbox, InboxBugs, Mark } from './inbox.ts'
import { orOutage } from './relay.ts'
import type { Process } from './world.ts'

interface ConsumerContext {
  readonly process: Process
  readonly broker: Broker
  readonly inbox: Inbox
  readonly bugs: InboxBugs
}

/** What a process knows of a partition, as handler.ts keeps it. */
interface Hold {
  isTaken: boolean
  looked: Look | null
  aloneBelow: bigint
  own?: Start
}

const recordsMax = 5
const pollMs = 10
const pollMaxMs = 80

/** A consumer as libs/kafka and libs/inbox run it (subscriber.ts, handler.ts), with the same decisions. */
export function runConsumer(context: ConsumerContext): void {
  const { process, broker } = context
  let generation = -1
  let positions = new Map<number, number>()
  const holds = new Map<number, Hold>()

  async function poll(): Promise<number> {
    const asked = positions
    const fetched = await process.call(broker.server, () => broker.fetch(process.name, asked, recordsMax))
    if (fetched.assignment.generation !== generation) {
      // What was fetched by positions of before is of another time.
      generation = fetched.assignment.generation
      positions = new Map()
      for (const hold of holds.values()) Object.assign(hold, { isTaken: false, looked: null })
      return 1
    }
    for (const batch of fetched.batches) await handleBatch(fetched, batch)
    return fetched.batches.length
  }
  async function handleBatch({ assignment }: Fetched, batch: Fetched['batches'][number]): Promise<void> {
    const { partition, records } = batch
    const hold = holds.get(partition) ?? { isTaken: false, looked: null, aloneBelow: 0n }
    holds.set(partition, hold)
    if (!hold.isTaken) {
      const from = await takeOver(context, batch, hold)
      if (from !== undefined) return void positions.set(partition, Number(from))
    }
    await handleRecords(context, { partition, records }, hold)
    const next = Number(records.at(-1)?.offset ?? 0n) + 1
    positions.set(partition, next)
    await process.call(broker.server, () => {
      broker.commit(process.name, assignment, partition, next)
    })
  }
  async function run(): Promise<never> {
    for (let idleMs = pollMs; ;) {
      let count = 0
      const isWell = await orOutage(async () => (count = await poll()))
      idleMs = count > 0 || !isWell ? pollMs : Math.min(2 * idleMs, pollMaxMs)
      await process.pause(idleMs)
    }
  }
  void run()
}

async function takeOver(
  { process, inbox }: ConsumerContext,
  { partition, records, logEnd }: Fetched['batches'][number],
  hold: Hold,
): Promise<bigint | undefined> {
  const check = await process.call(inbox.server, () => {
    const mark = inbox.markOf(partition)
    const found = checkLog(mark, { ...viewOf(records, mark), logEnd: BigInt(logEnd) }, hold.looked)
    if (found.kind !== 'same') return found
    const wanted = records.filter(({ offset }) => offset >= mark.nextOffset)
    const [from, last] = [wanted[0]?.offset, wanted.at(-1)?.offset]
    hold.aloneBelow = aloneBelow(startOf(mark), hold.own, wanted)
    if (hold.aloneBelow === 0n && from !== undefined && last !== undefined) {
      hold.own = { from, to: last + 1n, starts: 1 }
      mark.started = hold.own
    }
    return found
  })
  hold.looked = check.kind === 'look' ? check.look : null
  hold.isTaken = check.kind === 'same'
  if (check.kind === 'replaced') throw new Error(`The log is another one: ${check.why}`)
  return check.kind === 'look' ? check.from : undefined
}

const startOf = ({ started, nextOffset }: Mark): Start | null =>
  started !== null && started.from >= nextOffset && started.starts > 0 ? started : null

async function handleRecords(
  { process, inbox, bugs }: ConsumerContext,
  { partition, records }: { partition: number; records: readonly InboxRecord[] },
  hold: Hold,
): Promise<void> {
  const suspects = records.filter(({ offset }) => offset < hold.aloneBelow)
  for (const record of suspects) {
    const isBegun = await process.call(inbox.server, () =>
      beginAlone(inbox.markOf(partition), record.offset, hold),
    )
    const handle = () => process.call(inbox.server, () => inbox.handle(partition, [record], !isBegun))
    await handle().catch(async (error: unknown) => {
      // It lives on, so the note says nothing against the record.
      await orOutage(() => process.call(inbox.server, () => withdrawStart(inbox.markOf(partition), hold)))
      throw error
    })
  }
  const rest = records.slice(suspects.length)
  if (rest.length === 0) return
  if (bugs.markFirst || bugs.rememberFirst) {
    const second = await process.call(inbox.server, () => inbox.handleHalf(partition, rest))
    await process.call(inbox.server, second)
    return
  }
  await process.call(inbox.server, () => inbox.handle(partition, rest))
}

function withdrawStart(mark: Mark, hold: Hold): void {
  const { started } = mark
  if (hold.own === undefined || started?.from !== hold.own.from || started.starts !== hold.own.starts) return
  mark.started = { ...started, starts: started.starts - 1 }
  delete hold.own
}

/** @returns false at the start that is one too many. */
function beginAlone(mark: Mark, offset: bigint, hold: Hold): boolean {
  if (offset < mark.nextOffset) return true
  const start = startAlone(startOf(mark), hold.own, offset)
  if (start === 'park') return false
  mark.started = start
  hold.own = start
  return true
}
