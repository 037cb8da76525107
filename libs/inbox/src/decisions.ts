export { type Known, decide, suspectsOf } from './decide.ts'
export {
  type Horizon,
  type InboxRecord,
  type Judgement,
  type Parked,
  judge,
  parkFailed,
} from './judgement.ts'
export { type LogCheck, type Look, checkLog, namesOf, viewOf } from './log-check.ts'
export { type Movable, type QueuedLetter, movableOf } from './queue.ts'
export { type Start, aloneBelow, startAlone } from './start.ts'
