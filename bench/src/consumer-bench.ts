import type { Arguments, ConsumerPart } from './arguments.ts'
import type { Bed } from './bed.ts'
import { benchConsumerDrain } from './consumer-drain.ts'
import { benchHotKey, benchReplicas } from './consumer-spread.ts'
import type { Part } from './report.ts'

const benches: Readonly<Record<ConsumerPart, (bed: Bed, options: Arguments) => Promise<Part[]>>> = {
  drain: benchConsumerDrain,
  hotKey: benchHotKey,
  replicas3: benchReplicas,
}

/** Consumer processes, part by part. Each leaves its records on the topic, which the next one's group has to pass first. */
export async function benchConsumer(bed: Bed, options: Arguments): Promise<Part[]> {
  const parts: Part[] = []
  for (const part of options.consumerParts) parts.push(...(await benches[part](bed, options)))
  return parts
}
