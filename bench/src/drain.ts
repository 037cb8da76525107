import { pause } from '@likewise/service'
import { type Usage, readUsage } from './process-usage.ts'
import { type Part, partOf } from './report.ts'

/** One reading of how far a drain has got. */
export interface Sample {
  readonly atMs: number
  readonly usage: Usage | null
}

export interface Drain {
  readonly perSecond: number
  /** CPU seconds of the process for 100,000 events, its start not included; null where it cannot be read. */
  readonly cpuSecondsPer100k: number | null
  readonly peakMb: number | null
}

// Often enough that the first and the last reading are off by far less than 1 % of a drain of some seconds.
const defaultEveryMs = 15
// 100,000 events at a tenth of the goal.
const defaultLimitMs = 120_000

/**
 * Watches a process work off what waits, by `read` (a cheap look at its progress), until `isDone`. @returns the first
 * reading that shows progress, and the last.
 */
export async function watchDrain<P>(options: {
  pid: number
  stopping: AbortSignal
  /** Between two readings, where `read` is not cheap. */
  everyMs?: number
  limitMs?: number
  read: () => Promise<P>
  hasBegun: (progress: P) => boolean
  isDone: (progress: P) => boolean
}): Promise<{ first: Sample & { progress: P }; last: Sample & { progress: P } }> {
  const {
    pid,
    stopping,
    read,
    hasBegun,
    isDone,
    everyMs = defaultEveryMs,
    limitMs = defaultLimitMs,
  } = options
  const deadlineMs = performance.now() + limitMs
  let first: (Sample & { progress: P }) | undefined
  for (;;) {
    stopping.throwIfAborted()
    const progress = await read()
    const atMs = performance.now()
    if (first === undefined && hasBegun(progress)) first = { progress, atMs, usage: await readUsage(pid) }
    if (first !== undefined && isDone(progress))
      return { first, last: { progress, atMs, usage: await readUsage(pid) } }
    if (atMs > deadlineMs) throw new Error(`Not drained within ${String(limitMs / 1000)} s.`)
    await pause(everyMs, stopping)
  }
}

/** The rate between the two readings: the start of the process and its first batch are not in it. Pure. */
export function drainOf(options: { first: Sample; last: Sample; events: number }): Drain {
  const { first, last, events } = options
  const spent = (last.usage?.cpuSeconds ?? 0) - (first.usage?.cpuSeconds ?? 0)
  return {
    perSecond: events / ((last.atMs - first.atMs) / 1000),
    cpuSecondsPer100k: last.usage === null ? null : (spent / events) * 100_000,
    peakMb: last.usage?.peakMb ?? null,
  }
}

/** The parts of a drain, `relay.drain` or `relay.drain.variant`; those that cannot be read here (no /proc) are left out. */
export function partsOfDrains(
  { area, variant }: { area: 'relay' | 'consumer' | 'peer.debezium'; variant?: string | undefined },
  drains: readonly Drain[],
  limit?: { name: string; repeats: readonly number[] },
): Part[] {
  const peaks = drains.flatMap(({ peakMb }) => peakMb ?? [])
  const cpu = drains.flatMap(({ cpuSecondsPer100k }) => cpuSecondsPer100k ?? [])
  const rates = drains.map(({ perSecond }) => perSecond)
  const name = (what: string) => [area, what, ...(variant === undefined ? [] : [variant])].join('.')
  return [
    partOf(name('drain'), '1/s', rates, limit),
    ...(peaks.length > 0 ? [partOf(name('rss'), 'MB', peaks)] : []),
    ...(cpu.length > 0 ? [partOf(name('cpu'), 's', cpu)] : []),
  ]
}

export const drainLine = (name: string, { perSecond, cpuSecondsPer100k, peakMb }: Drain): string =>
  `  ${name}  ${perSecond.toFixed(0)}/s` +
  (cpuSecondsPer100k === null ? '' : `, ${cpuSecondsPer100k.toFixed(1)} CPU s per 100k`) +
  (peakMb === null ? '' : `, ${peakMb.toFixed(0)} MB`)
