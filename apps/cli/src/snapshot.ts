import type { Command } from 'commander'
import type { Database } from '@likewise/database'
import { topics } from '@likewise/events'
import { type SnapshotOf, deleteSnapshots, listSnapshots, takeSnapshot } from '@likewise/inbox'
import { readModelSizes, saveModel } from '@likewise/metrics'
import { Failure, readConfig } from '@likewise/service'
import { me, numberOf } from './arguments.ts'
import { type Say, connect, metricsOf, wholeNumber } from './catalog.ts'
import { SnapshotConfig } from './config.ts'
import { plainJson } from './dead-letters-view.ts'
import { counted } from './progress.ts'
import { age, table } from './table.ts'

/** A hundred million ids take minutes. */
const takeTimeoutMs = 3_600_000
const keptDefault = 3

interface Tool {
  readonly topic: string
  readonly say: Say
}

interface Asked {
  consumer?: string
  json?: boolean
}

/** `likewise snapshot …`: the read model as of a moment, for a rebuild to begin with. */
export function addSnapshotCommands(program: Command, say: Say, topic: string = topics.catalogEvents): void {
  const snapshot = program
    .command('snapshot')
    .description('keeps the read model as it is now, for a rebuild to begin with; the oldest ones go')
  asking(snapshot)
    .option('--keep <n>', 'so many are kept', wholeNumber(1_000), keptDefault)
    .option('--by <name>', 'who it is', me)
    .action((options: Asked & { keep: number; by: string }) => take(options, { topic, say }))
  asking(snapshot.command('list').description('those there are, the oldest first'))
    .action((_: Asked, command: Command) => list(command.optsWithGlobals<Asked>(), { topic, say })) // prettier-ignore
  asking(snapshot.command('delete').description('deletes one'))
    .argument('<id>', 'its number', numberOf('a snapshot'))
    .action((id: bigint, _: Asked, command: Command) => remove(id, command.optsWithGlobals<Asked>(), { topic, say })) // prettier-ignore
}

const asking = (command: Command): Command =>
  command.option('--consumer <name>', 'whose; CONSUMER_GROUP unless set').option('--json', 'machine-readable')

async function take(
  { keep, by: takenBy, ...asked }: Asked & { keep: number; by: string },
  { topic, say }: Tool,
) {
  await withSnapshots(asked, topic, async (db, of) => {
    const begunMs = performance.now()
    const id = await db.tx(
      async (tx) => {
        const taken = await takeSnapshot(tx, { ...of, takenBy })
        await saveModel(tx, taken)
        return taken
      },
      { isolation: 'RepeatableRead', timeoutMs: takeTimeoutMs },
    )
    const deleted = await deleteSnapshots(db, { ...of, keep })
    const [state] = (await statesOf(db, of)).filter((one) => one.id === id)
    if (asked.json) {
      say(plainJson({ ...state, deleted }))
      return
    }
    const seconds = ((performance.now() - begunMs) / 1_000).toFixed(1)
    say(
      `Snapshot ${String(id)}: ${counted(state?.products ?? 0)} products, ${counted(state?.buckets ?? 0)} buckets of time, ` +
        `${counted(state?.ids ?? 0)} ids, after ${counted(state?.records ?? 0)} records of ${topic}; taken in ${seconds} s.`,
    )
    for (const old of deleted) say(`Snapshot ${String(old)} is deleted: ${String(keep)} are kept (--keep).`)
  })
}

async function list(asked: Asked, { topic, say }: Tool): Promise<void> {
  await withSnapshots(asked, topic, async (db, of) => {
    const states = await statesOf(db, of)
    if (asked.json || states.length === 0) {
      say(asked.json ? plainJson(states) : `No snapshot of ${of.consumer}.`)
      return
    }
    const rows = states.map((one) => [
      ...[String(one.id), one.takenAt.toISOString(), age(Date.now() - one.takenAt.getTime()), one.takenBy],
      ...[one.products, one.buckets, one.ids, one.records].map(counted),
    ])
    const head = ['id', 'taken', 'age', 'by', 'products', 'buckets', 'ids', 'after records']
    for (const line of table(head, rows)) say(line)
  })
}

async function remove(id: bigint, asked: Asked, { topic, say }: Tool): Promise<void> {
  await withSnapshots(asked, topic, async (db, of) => {
    const deleted = await deleteSnapshots(db, { ...of, ids: [id] })
    if (deleted.length === 0)
      throw new Failure('NOT_FOUND', `There is no snapshot ${String(id)} of ${of.consumer}.`)
    if (!asked.json) say(`Snapshot ${String(id)} is deleted.`)
  })
}

async function statesOf(db: Database, of: SnapshotOf) {
  const snapshots = await listSnapshots(db, of)
  const sizes = await readModelSizes(db, snapshots.map(({ id }) => id)) // prettier-ignore
  return snapshots.map((one) => {
    const { products = 0, buckets = 0 } = sizes.get(one.id) ?? {}
    return { ...one, products, buckets }
  })
}

async function withSnapshots(
  { consumer }: Asked,
  topic: string,
  work: (db: Database, of: SnapshotOf) => Promise<void>,
): Promise<void> {
  const config = readConfig(SnapshotConfig)
  const db = connect(metricsOf(config), takeTimeoutMs)
  try {
    await work(db, { consumer: consumer ?? config.CONSUMER_GROUP, topic })
  } finally {
    await db.stop()
  }
}
