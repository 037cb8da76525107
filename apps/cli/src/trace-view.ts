import { age } from './table.ts'
import type { Stage, Trace } from './trace.ts'

// For people. Pure.

export function traceText({
  eventId,
  eventType,
  userId,
  productId,
  traceparent,
  state,
  stages,
}: Trace): string[] {
  const about = [
    eventType ?? 'an event',
    ...(userId === null ? [] : [`user ${String(userId)}`]),
    ...(productId === null ? [] : [`product ${String(productId)}`]),
  ].join(', ')
  const first = stages.find(({ stage, at }) => stage === 'enqueued' && at !== null)?.at ?? null
  const width = Math.max(...stages.map(({ stage }) => words[stage].length))
  return [
    `Event ${eventId} (${about}): ${state}`,
    ...(traceparent === null ? [] : [`  traceparent ${traceparent}`]),
    ...stages.map((one) => `  ${timeOf(one)}  ${sinceOf(one, first).padStart(9)}  ${words[one.stage].padEnd(width)}  ${one.detail}`), // prettier-ignore
  ]
}

const words: Record<Stage['stage'], string> = {
  liked: 'liked',
  enqueued: 'in the outbox',
  parked: 'waits in the outbox',
  published: 'on Kafka',
  settled: 'settled',
  handled: 'handled',
  discarded: 'given up',
  dead_letter: 'dead letter',
  resolved: 'resolved',
  counted: 'count',
  audited: 'somebody',
}

const timeOf = ({ at }: Stage): string => at?.toISOString() ?? ' '.repeat(24)

function sinceOf({ at }: Stage, first: Date | null): string {
  if (at === null || first === null || at.getTime() === first.getTime()) return ''
  const ms = at.getTime() - first.getTime()
  return ms < 0 ? `-${age(-ms)}` : `+${age(ms)}`
}
