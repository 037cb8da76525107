export { type Delta, deltasOf } from './deltas.ts'
