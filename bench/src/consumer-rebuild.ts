import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { topics } from '@likewise/events'
import { dropRebuild, readMarks, readRebuildOffsets } from '@likewise/inbox'
import { workspaceRoot } from '@likewise/local-servers'
import { buildShadow } from '@likewise/metrics'
import type { Bed } from './bed.ts'
import { type Drain, drainLine, drainOf, watchDrain } from './drain.ts'
import { type Part, partOf } from './report.ts'

const model = buildShadow({ minutesKeptHours: 48, hoursKeptDays: 90 })

/**
 * How fast `likewise rebuild` counts what a consumer has handled, beside how fast the consumer did. The process is started
 * as users start it; timed from its first committed step to its last.
 */
export async function benchRebuild(
  bed: Bed,
  { groups, drains }: { groups: readonly string[]; drains: readonly Drain[] },
): Promise<Part[]> {
  const rebuilds: Drain[] = []
  for (const [i, group] of groups.entries()) {
    const rebuild = await measureRebuild(bed, group)
    rebuilds.push(rebuild)
    bed.tell(drainLine(`rebuild ${String(i + 1)}/${String(groups.length)}`, rebuild))
  }
  const limit = { name: 'consumer.drain', repeats: drains.map(({ perSecond }) => perSecond) }
  const peaks = rebuilds.flatMap(({ peakMb }) => peakMb ?? [])
  const rates = rebuilds.map(({ perSecond }) => perSecond)
  return [
    partOf('consumer.rebuild', '1/s', rates, limit),
    ...(peaks.length > 0 ? [partOf('consumer.rebuild.rss', 'MB', peaks)] : []),
  ]
}

async function measureRebuild(bed: Bed, group: string): Promise<Drain> {
  const marks = await readMarks(bed.metrics, group, topics.catalogEvents)
  const goal = marks.reduce((sum, { nextOffset }) => sum + Number(nextOffset), 0)
  const command = join(workspaceRoot, 'apps', 'cli', 'bin', 'likewise.js')
  const child = spawn(process.execPath, [command, 'rebuild', '--json'], {
    env: { ...bed.env, CONSUMER_GROUP: group },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const ended = new Promise((resolve) => child.on('close', resolve))
  try {
    const { first, last } = await watchDrain({
      pid: child.pid ?? 0,
      stopping: bed.stopping,
      read: async () =>
        (await readRebuildOffsets(bed.metrics)).reduce((sum, { nextOffset }) => sum + Number(nextOffset), 0),
      hasBegun: (counted) => counted > 0,
      isDone: (counted) => counted >= goal,
    })
    return drainOf({ first, last, events: last.progress - first.progress })
  } finally {
    child.kill('SIGTERM')
    await ended
    await dropRebuild(bed.metrics, model)
  }
}
