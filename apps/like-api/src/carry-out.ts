import { Failure } from '@likewise/service'

/** What a batch is carried out with. */
export interface Hands<T, R> {
  /** One transaction for all of them, which waits so long for a lock. @returns the results, in the order given. */
  readonly run: (items: readonly T[], lockWaitMs: number) => Promise<readonly R[]>
  readonly tell: (item: T, outcome: { readonly result: R } | { readonly error: Error }) => void
  /** One whose row somebody else holds: it waits on its own, where it keeps nobody. */
  readonly setAside: (item: T) => void
}

/** Above what a commit of somebody else takes, and the 50 ms for which a purge may keep others waiting. */
export const firstLockWaitMs = 100
/** Once it is known that somebody holds a row, those without a part in it need not wait long to find out. */
const pieceLockWaitMs = 20
/** One held row among 256 costs nine of them; where it takes many more, the table is locked rather than a row. */
const lockTimeoutsMax = 25
/** Deadlocks and serialization failures. */
const triesMax = 5

/**
 * Carries out a batch in one transaction. If PostgreSQL says no to it, it is halved, each half in a transaction of its
 * own, until what is bad or blocked stands alone: it fails or is set aside, all others have their effect. Where the
 * outcome is unknown, since the connection is lost, nothing is run again: whoever asked will.
 */
export async function carryOut<T, R>(items: readonly T[], hands: Hands<T, R>): Promise<void> {
  await carryOutPiece(items, hands, { lockTimeouts: 0 })
}

async function carryOutPiece<T, R>(
  items: readonly T[],
  hands: Hands<T, R>,
  spent: { lockTimeouts: number },
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const results = await hands.run(items, spent.lockTimeouts === 0 ? firstLockWaitMs : pieceLockWaitMs)
      items.forEach((item, i) => {
        hands.tell(item, { result: results[i] as R })
      })
      return
    } catch (error) {
      if (isLockTimeout(error)) spent.lockTimeouts += 1
      const verdict = verdictOf(error, { size: items.length, attempt, lockTimeouts: spent.lockTimeouts })
      if (verdict === 'again') continue
      if (verdict === 'halve') {
        const middle = items.length >> 1
        await carryOutPiece(items.slice(0, middle), hands, spent)
        await carryOutPiece(items.slice(middle), hands, spent)
      } else if (verdict === 'aside') items.forEach(hands.setAside)
      else for (const item of items) hands.tell(item, { error: error as Error })
      return
    }
  }
}

/** What to do about a piece that failed. Pure. */
export function verdictOf(
  error: unknown,
  { size, attempt, lockTimeouts }: { size: number; attempt: number; lockTimeouts: number },
): 'again' | 'halve' | 'aside' | 'fail' {
  if (!(error instanceof Failure)) return 'fail'
  const sqlstate = error.details?.['sqlstate']
  // Only what PostgreSQL itself refused is rolled back for certain. An outage or a missing table is nobody's fault
  // among them, and a statement that took too long was not kept by a lock, so that its parts would not be faster.
  const isRolledBack = typeof sqlstate === 'string' && isOfStatement.has(error.code) && sqlstate !== '57014'
  if (!isRolledBack) return 'fail'
  if ((sqlstate === '40001' || sqlstate === '40P01') && attempt < triesMax) return 'again'
  if (sqlstate === lockNotAvailable && lockTimeouts > lockTimeoutsMax) return 'fail'
  if (size > 1) return 'halve'
  return sqlstate === lockNotAvailable ? 'aside' : 'fail'
}

const isOfStatement: ReadonlySet<string> = new Set(['DATABASE_BUSY', 'DATABASE_REFUSED'])
const lockNotAvailable = '55P03'

const isLockTimeout = (error: unknown): boolean =>
  error instanceof Failure && error.details?.['sqlstate'] === lockNotAvailable
