import { percentile } from './report.ts'
import type { Commit } from './writer.ts'

/**
 * From each commit's acknowledgement to the broker's append, in ms. The broker cuts its time to whole milliseconds, so one
 * is added: the longest it may have been. Never below 0: a relay may see a commit before its writer hears of it. Pure.
 */
export function latenciesOf(
  commits: readonly Commit[],
  { appendedMs, wallOf }: { appendedMs: ReadonlyMap<string, number>; wallOf: (atMs: number) => number },
): number[] {
  return commits.map(({ id, atMs }) => {
    const broker = appendedMs.get(id)
    if (broker === undefined) throw new Error(`Event ${id} was committed, and is not on the topic.`)
    return Math.max(0, broker + 1 - wallOf(atMs))
  })
}

/** Beyond these the load was not what it should have been, and neither are the latencies. */
const lateMsMax = 100
const shareMin = 0.98

/** How far the commits kept to their schedule, and a warning where they did not. Pure. */
export function scheduleOf(
  commits: readonly Commit[],
  perSecond: number,
): { achieved: number; warning: string } {
  const first = Math.min(...commits.map(({ dueMs }) => dueMs))
  const last = Math.max(...commits.map(({ atMs }) => atMs))
  const achieved = commits.length / ((last - first) / 1000)
  const lateMs = percentile(
    commits.map(({ dueMs, atMs }) => atMs - dueMs),
    0.99,
  )
  const fellBehind = lateMs > lateMsMax || achieved < shareMin * perSecond
  const warning = fellBehind
    ? `; THE WRITER FELL BEHIND its ${String(perSecond)}/s: a hundredth of the commits came ${lateMs.toFixed(0)} ms or more after they were due`
    : ''
  return { achieved, warning }
}

/** From process time to the system's clock, between two readings of how far they are apart. Pure. */
export function wallBetween(first: ClockOffset, last: ClockOffset): (atMs: number) => number {
  const drift = (last.offsetMs - first.offsetMs) / (last.atMs - first.atMs)
  return (atMs) => atMs + first.offsetMs + (atMs - first.atMs) * drift
}

/** What process time lacks to the system's clock: it changes, since only that clock is kept right by the network. */
export interface ClockOffset {
  readonly atMs: number
  readonly offsetMs: number
}
