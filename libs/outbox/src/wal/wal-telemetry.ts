import type { Telemetry } from '@likewise/service'
import type { WalHealth } from './slot.ts'

export type WalTelemetry = ReturnType<typeof walTelemetry>

const walStatuses = ['reserved', 'extended', 'unreserved', 'lost'] as const

export function walTelemetry(telemetry: Telemetry) {
  const active = telemetry.gauge('likewise_outbox_slot_active', '1 while some relay reads the slot.')
  const lag = telemetry.gauge(
    'likewise_outbox_slot_lag_bytes',
    'WAL between what is confirmed to the slot and what PostgreSQL has written.',
  )
  const kept = telemetry.gauge('likewise_outbox_slot_kept_bytes', 'WAL that PostgreSQL keeps for the slot.')
  const safe = telemetry.gauge(
    'likewise_outbox_slot_safe_bytes',
    'WAL that can be written before the slot may be lost; NaN without max_slot_wal_keep_size.',
  )
  const status = telemetry.gauge('likewise_outbox_slot_wal_status', '1 for the wal_status the slot has.', [
    'status',
  ])
  return {
    reading: telemetry.gauge('likewise_outbox_slot_reading', '1 while this relay reads the slot.'),
    delivered: telemetry.counter(
      'likewise_outbox_wal_delivered_total',
      'Events taken from the WAL and acknowledged or parked.',
    ),
    stepped: telemetry.counter(
      'likewise_outbox_wal_cursor_steps_total',
      'Poll cursors moved while the WAL is read.',
    ),
    /** Every relay tells it, standbys too: take the maximum over relays. NaN where it is not known. */
    observe({ slot }: WalHealth): void {
      active.set(slot?.active ? 1 : 0)
      lag.set(slot?.lagBytes ?? NaN)
      kept.set(slot?.keptBytes ?? NaN)
      safe.set(slot?.safeWalSize ?? NaN)
      for (const name of walStatuses) status.set({ status: name }, slot?.walStatus === name ? 1 : 0)
    },
  }
}
