import type { Telemetry } from '@likewise/service'
import type { Lag } from './progress.ts'

export type SubscriberTelemetry = ReturnType<typeof subscriberTelemetry>

/** The numbers of a member; of one that nobody watches, none. */
export function subscriberTelemetry(telemetry: Telemetry | undefined) {
  const lag = telemetry?.gauge(
    'likewise_inbox_lag_records',
    'Records that wait in a partition this member holds: the end of the log less what it has read.',
    ['partition'],
  )
  const waiting = telemetry?.gauge(
    'likewise_inbox_oldest_waiting_age_seconds',
    'Age of the oldest record that waits in a partition this member holds, since the broker stored it.',
  )
  const joined = telemetry?.gauge('likewise_inbox_joined', '1 while this member belongs to its group.')
  const rebalances = telemetry?.counter(
    'likewise_inbox_rebalances_total',
    'Times this member got its partitions, the first included.',
  )
  const restarts = telemetry?.counter(
    'likewise_inbox_client_restarts_total',
    'Kafka clients replaced by a fresh one: it crashed, or the watchdog heard nothing of it.',
    ['reason'],
  )
  let shown = new Set<number>()

  return {
    rebalanced: () => rebalances?.inc(),
    restarted: (reason: 'crash' | 'watchdog') => restarts?.inc({ reason }),
    show(now: Lag, isJoined: boolean): void {
      joined?.set(isJoined ? 1 : 0)
      waiting?.set(now.oldestWaitingMs / 1000)
      const held = new Set(now.partitions.map(({ partition }) => partition))
      // Another member tells it now; both would count it twice.
      for (const partition of shown) if (!held.has(partition)) lag?.remove({ partition: String(partition) })
      for (const { partition, records } of now.partitions) lag?.set({ partition: String(partition) }, records)
      shown = held
    },
  }
}
