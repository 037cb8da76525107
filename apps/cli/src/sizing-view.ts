import type { BenchReport } from './bench-report.ts'
import { type DiskName, type Fleet, type Sizing, assumptions } from './sizing.ts'
import { table } from './table.ts'

const fleetNames: Record<keyof Sizing['fleets'], string> = {
  likeApi: 'like-api',
  outboxRelay: 'outbox-relay',
  metricsConsumer: 'metrics-consumer',
  metricsApi: 'metrics-api',
}

const diskNames: Record<DiskName, string> = {
  outbox: 'PostgreSQL, catalog.outbox_events',
  handled: 'PostgreSQL, metrics.event_handled',
  buckets: 'PostgreSQL, likes per minute and hour',
  products: 'PostgreSQL, metrics.product_metrics',
  topic: 'Kafka, catalog-events, all copies',
  likesPerYear: 'PostgreSQL, catalog.likes, each year',
  daysPerYear: 'PostgreSQL, likes per day, each year',
}

/** As text for a terminal. Pure. */
export function showSizing(sizing: Sizing, basis: { report: BenchReport; taken: readonly string[] }): string {
  const { demand, connections, partitions, shards, networkPerSecond, outage } = sizing
  return [
    `For ${count(demand.likesPerSecond)} likes/s, ${count(demand.peakPerSecond)} at the peak, on ${count(demand.products)} products`,
    '',
    'Processes',
    ...table(
      ['service', 'replicas', 'at most', 'memory', 'connections'],
      Object.entries(sizing.fleets).map(([name, fleet]) =>
        fleetRow(fleetNames[name as keyof Sizing['fleets']], fleet),
      ),
    ),
    `  ${String(partitions)} partitions, ${String(shards)} shards; ${String(connections.needed)} connections of PostgreSQL (max_connections ${String(connections.max)})`,
    '',
    'Disk',
    ...table(
      ['of', 'size'],
      Object.entries(sizing.disk).map(([name, bytes]) => [diskNames[name as DiskName], size(bytes)]),
    ),
    '',
    'At the peak',
    `  Kafka takes ${size(networkPerSecond.kafkaIn)}/s and gives ${size(networkPerSecond.kafkaOut)}/s, copies included`,
    `  an hour without Kafka leaves ${count(outage.rows)} events (${size(outage.bytes)}), ` +
      (outage.minutesToDrain === null
        ? 'and they never catch up'
        : `which are gone after ${outage.minutesToDrain < 1 ? 'less than a minute' : `${outage.minutesToDrain.toFixed(0)} min`}`),
    ...(sizing.warnings.length > 0
      ? ['', 'Look at', ...sizing.warnings.map((warning) => `  ${warning}`)]
      : []),
    '',
    'Taken for granted',
    ...assumptions.map((assumption) => `  ${assumption}`),
    ...basisLines(basis),
  ].join('\n')
}

function basisLines({ report, taken }: { report: BenchReport; taken: readonly string[] }): string[] {
  const { cpu, cores, memoryMb, node, postgres, kafka } = report.machine
  return [
    `  Measured on ${cpu}, ${String(cores)} cores, ${String(memoryMb)} MB, Node ${node}, PostgreSQL ${postgres}, Kafka ${kafka}; commit ${report.commit}, ${report.date.slice(0, 10)}.`,
    ...(taken.length > 0
      ? [`  Not in that file, and taken from the figures that come with likewise: ${taken.join(', ')}.`]
      : []),
  ]
}

function fleetRow(name: string, { replicas, replicasMax, memoryMb, connections }: Fleet): string[] {
  return [
    name,
    String(replicas),
    replicasMax === null ? '' : String(replicasMax),
    `${memoryMb.toFixed(0)} MB`,
    String(connections),
  ]
}

const count = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: 1 })

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

function size(bytes: number): string {
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)))
  return `${String(Number((bytes / 1000 ** power).toPrecision(3)))} ${String(units[power])}`
}
