export { type BatchOptions, handleBatch } from './handle-batch.ts'
export { type HandlerBatch, type HandlerOptions, buildHandler } from './handler.ts'
export type { BatchOutcome } from './piece.ts'
export { type ConsumedEvent, type Handled, handleOnce, remember } from './handle-once.ts'
export { type Remembered, holdRemembered, lockMarksOf, readInboxAudit, readRemembered, readRememberedOf } from './effects.ts' // prettier-ignore
export type { Horizon, InboxRecord, ParkReason } from './judgement.ts'
export { type LiveMark, type Scope, readMarks, readNextOffsets } from './offsets.ts'
export { type CountedThrough, buildCountedThrough, readCountedThrough } from './counted-through.ts'
export { countDeadLetters } from './dead-letters.ts'
export { type HandledKeeperOptions, keepHandled, keptDays } from './purge.ts'
export { type LetterKeeperOptions, keepLetters } from './letter-purge.ts'
export {
  type DeadLetter,
  type LetterSelection,
  type WholeLetter,
  listDeadLetters,
  readDeadLetters,
  readQueue,
} from './letter.ts'
export type { KeyOutcome, LetterAction, RedriveAction } from './move-key.ts'
export { type Reading, type Stay, readLetter } from './queue.ts'
export { discard, redrive } from './redrive.ts'
export { type LetterBacklog, readLetterBacklog } from './letter-backlog.ts'
export { type CopyOptions, copyDeadLetters } from './copy.ts'
export type { LetterCopy } from './copy-record.ts'
export { type Replayed, type ReplayOptions, replayRecords } from './replay.ts'
export { type SnapshotOf, type SnapshotState, deleteSnapshots, listSnapshots, readSnapshot, takeSnapshot } from './snapshot.ts' // prettier-ignore
export { type LogEntry, type LogPiece, entryOf } from './rebuild/entry.ts'
export {
  type Rebuild,
  type RebuildOffset,
  type RebuildState,
  type ShadowModel,
  beginRebuild,
  dropRebuild,
  readRebuild,
  readRebuildOffsets,
  releaseRebuild,
  renewRebuild,
  takeRebuild,
} from './rebuild/rebuild.ts'
export { type Step, type Stepped, stepRebuild } from './rebuild/step.ts'
export {
  type Finish,
  type FinishedModel,
  compareRebuild,
  switchRebuild,
  wasSwitched,
} from './rebuild/finish.ts'
