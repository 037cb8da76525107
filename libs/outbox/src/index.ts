export { type NewEvent, enqueue, enqueueRows } from './enqueue.ts'
export { type Relay, type RelayLimits, type RelayOptions, startRelay } from './relay.ts'
export type { OutboxEvent } from './page.ts'
export { type ShardBacklog, readBacklog } from './backlog.ts'
export {
  type HeldEvent,
  type Ledger,
  type LedgerEvent,
  type LedgerPart,
  isRingFull,
  openLedger,
  readHeldSince,
  readLedgerOf,
  rowsSince,
} from './ledger.ts'
export {
  type ParkedAction,
  type ParkedEvent,
  type ParkedSelection,
  countParked,
  discard,
  listParked,
  redrive,
} from './parked.ts'
export { type RingKeeperOptions, keepRing, retentionDaysMax } from './purge.ts'
export { type RewindOptions, type Rewound, recover, republish } from './rewind.ts'
export {
  type OutboxMode,
  type SlotHealth,
  type WalHealth,
  readMode,
  readWalHealth,
  requireSlot,
  slotFault,
} from './wal/slot.ts'
export { type WalSwitchOptions, disableWal, enableWal } from './wal/switch.ts'
export { type WalContext, type WalLimits, runWal } from './wal/run-wal.ts'
export { walTelemetry } from './wal/wal-telemetry.ts'
export { identityFault } from './identity.ts'
export { isPublishedUpTo } from './wal/progress.ts'
export { type Position, type Reset, readResets, watchPositions } from './positions.ts'
export {
  type AuditEntry,
  type OutboxTrace,
  type TraceSelection,
  readOutboxAudit,
  readOutboxTraces,
} from './trace.ts'
