import type { Arguments, RelayPart } from './arguments.ts'
import type { Bed } from './bed.ts'
import { emptyOutbox } from './outbox-seed.ts'
import { benchDrain } from './relay-drain.ts'
import { benchHeldXmin } from './relay-held-xmin.ts'
import { benchIdle } from './relay-idle.ts'
import { benchLatency } from './relay-latency.ts'
import { benchRetained } from './relay-retained.ts'
import { benchWal } from './relay-wal.ts'
import type { Part } from './report.ts'

const benches: Readonly<Record<RelayPart, (bed: Bed, options: Arguments) => Promise<Part[]>>> = {
  drain: benchDrain,
  latency: benchLatency,
  idle: benchIdle,
  wal: benchWal,
  heldXmin: benchHeldXmin,
  retained: benchRetained,
}

/** One relay process, part by part; each begins with an empty outbox, so that it finds the same alone and among others. */
export async function benchRelay(bed: Bed, options: Arguments): Promise<Part[]> {
  const parts: Part[] = []
  for (const part of options.relayParts) {
    await emptyOutbox(bed.catalog)
    parts.push(...(await benches[part](bed, options)))
  }
  return parts
}
