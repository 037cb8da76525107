import { faketimeLibrary } from '../faults/moved-clock.ts'
import { smallDiskFault } from '../faults/small-disk.ts'
import { databaseFaults } from './database-faults.ts'
import type { Inject } from './injection.ts'
import { logFaults } from './log-faults.ts'
import type { FaultKind } from './plan.ts'
import { pointFaults } from './point-faults.ts'
import { processFaults } from './process-faults.ts'
import { serverFaults } from './server-faults.ts'

export const injections: Record<FaultKind, Inject> = {
  ...processFaults,
  ...pointFaults,
  ...databaseFaults,
  ...serverFaults,
  ...logFaults,
}

/** Why a kind of fault cannot be injected here; null where it can. */
export function skipReason(kind: FaultKind): string | null {
  if (kind === 'postgres-disk-full' || kind === 'kafka-disk-full') return smallDiskFault()
  if (kind === 'clock-jump' && faketimeLibrary() === undefined)
    return 'there is no libfaketime (apt-get install faketime)'
  return null
}
