export { type Delivered, type Delivery, type HeldBack, type Parking, deliver } from './delivery.ts'
export type { Lease, LeaseTable } from './lease.ts'
export { decideShare } from './share.ts'
