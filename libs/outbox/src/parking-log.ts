import type { Logger } from '@likewise/service'
import type { Parking } from './delivery.ts'
import type { OutboxEvent } from './page.ts'
import type { RelayTelemetry } from './telemetry.ts'

/**
 * Tells what of a page is parked: a line for each refused event, and one for each key with what waits behind it. A line
 * per event would be 100,000 for one refused event of a busy key.
 */
export function tellParked(
  { log, telemetry }: { log: Logger; telemetry: RelayTelemetry },
  page: readonly OutboxEvent[],
  parked: readonly Parking[],
  facts: { shard?: number } = {},
): void {
  if (parked.length === 0) return
  const keys = new Map(page.map(({ seq, partitionKey }) => [seq, partitionKey]))
  const tails = new Map<string | undefined, { events: number; firstSeq: string; lastSeq: string }>()
  for (const { seq, reason, detail } of parked) {
    telemetry.parked.inc({ reason })
    const key = keys.get(seq)
    const tail = tails.get(key)
    if (reason === 'refused') log.warn({ ...facts, seq, key, reason, detail }, 'event parked')
    else tails.set(key, { events: (tail?.events ?? 0) + 1, firstSeq: tail?.firstSeq ?? seq, lastSeq: seq })
  }
  for (const [key, tail] of tails) log.warn({ ...facts, key, ...tail }, 'events parked behind it')
}
