import type { Database, Tx } from '@likewise/database'

/** What a dry run throws, so that all of it is rolled back. */
class Rehearsed<T> extends Error {
  readonly outcome: T

  constructor(outcome: T) {
    super('A dry run is rolled back.')
    this.outcome = outcome
  }
}

/** `work` in one transaction. A dry run does all of it, gives what came of it, and is rolled back. */
export async function inTxOrDry<T>(
  db: Database,
  work: (tx: Tx) => Promise<T>,
  { dryRun = false, timeoutMs }: { dryRun?: boolean | undefined; timeoutMs?: number },
): Promise<T> {
  const whole = async (tx: Tx): Promise<T> => {
    const outcome = await work(tx)
    if (dryRun) throw new Rehearsed(outcome)
    return outcome
  }
  try {
    return await db.tx(whole, timeoutMs === undefined ? {} : { timeoutMs })
  } catch (error) {
    if (error instanceof Rehearsed) return error.outcome as T
    throw error
  }
}
