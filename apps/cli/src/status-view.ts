import { counted } from './progress.ts'
import { baseText } from './rebuild-view.ts'
import type { PartitionStatus, RebuildStatus, ShardStatus, Status } from './status.ts'
import { age, table } from './table.ts'

/** The status for people. Pure. */
export function showStatus({ outbox, consumer, deadLetters, rebuild }: Status): string {
  return [
    'Outbox',
    ...('error' in outbox
      ? [`  ${outbox.error}`]
      : [
          `  ${events(outbox.pending)} waiting${oldest(outbox.oldestAgeMs)}`,
          ...(outbox.parked.events > 0
            ? [
                `  ${events(outbox.parked.events)} of ${String(outbox.parked.keys)} keys parked: likewise outbox parked`,
              ]
            : []),
          ...outbox.resets.map(
            ({ topic, partition, at }) =>
              `  ${topic}/${String(partition)} lost records, seen ${at}: likewise outbox republish --since …`,
          ),
          ...shardTable(outbox.shards),
        ]),
    '',
    'Consumer',
    ...('error' in consumer
      ? [`  ${consumer.error}`]
      : [`  ${consumer.name}: ${events(consumer.lag)} behind`, ...partitionTable(consumer.partitions)]),
    '',
    'Dead letters',
    ...('error' in deadLetters ? [`  ${deadLetters.error}`] : deadLetterLines(deadLetters)),
    ...('error' in rebuild ? ['', 'Rebuild', `  ${rebuild.error}`] : rebuildLines(rebuild.current)),
  ].join('\n')
}

function deadLetterLines({
  unresolved,
  byReason,
}: {
  unresolved: number
  byReason: Record<string, number>
}): string[] {
  if (unresolved === 0) return ['  none']
  return [
    `  ${String(unresolved)} unresolved: likewise dead-letters list`,
    ...Object.entries(byReason).map(([reason, n]) => `    ${reason}: ${String(n)}`),
  ]
}

function rebuildLines(rebuild: RebuildStatus | null): string[] {
  if (rebuild === null) return []
  const { consumer, topic, snapshotId, begunAt, owner, isUnderWay, done, total } = rebuild
  const base = baseText({ topic, snapshotId: snapshotId === null ? null : BigInt(snapshotId) })
  const share = total === 0 ? 100 : Math.floor((Math.min(done, total) / total) * 100)
  return [
    '',
    'Rebuild',
    `  of ${consumer} from ${base}, begun at ${begunAt}: ${String(share)} %, ${counted(done)} of ${counted(total)} records`,
    isUnderWay
      ? `  under way, by ${owner}; Ctrl-C there stops it, and nothing is lost by that`
      : `  nobody works on it, the last was ${owner}; the live model is as it was`,
    ...(isUnderWay
      ? []
      : [
          '  likewise rebuild            goes on with it',
          '  likewise rebuild --switch   goes on, and puts the rebuilt model in its place',
          '  likewise rebuild --drop     gives it up',
        ]),
  ]
}

function shardTable(shards: readonly ShardStatus[]): string[] {
  return table(
    ['shard', 'waiting', 'oldest', 'window', 'published to', 'attempts', 'relay', 'last error'],
    shards.map((s) => [
      String(s.shard),
      String(s.pending),
      s.oldestAgeMs === null ? '-' : age(s.oldestAgeMs),
      String(s.window),
      s.afterSeq < s.lastSeq ? `${s.afterSeq} of ${s.lastSeq}` : String(s.lastSeq),
      String(s.attempts),
      s.owner?.slice(-12) ?? 'nobody',
      s.attempts > 0 ? (s.lastError ?? '') : '',
    ]),
  )
}

function partitionTable(partitions: readonly PartitionStatus[]): string[] {
  return table(
    ['partition', 'next', 'end', 'behind'],
    partitions.map((p) => [
      String(p.partition),
      String(p.nextOffset),
      String(p.end),
      p.lag < 0 ? 'the log ends before the mark: new records are passed over' : String(p.lag),
    ]),
  )
}

const events = (n: number): string => `${String(n)} ${n === 1 ? 'event' : 'events'}`
const oldest = (ms: number | null): string => (ms === null ? '' : `, the oldest for ${age(ms)}`)
