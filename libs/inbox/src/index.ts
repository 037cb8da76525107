export { type BatchOptions, type BatchOutcome, handleBatch } from './handle-batch.ts'
export { handleOnce } from './handle-once.ts'
export type { Horizon, InboxRecord, ParkReason } from './judgement.ts'
export { type Scope, readMarks } from './offsets.ts'
export { countDeadLetters } from './dead-letters.ts'
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
