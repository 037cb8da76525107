import { checkAnswers } from './answers.ts'
import { checkEffects } from './effects.ts'
import { type History, groupBy } from './history.ts'
import { checkLog, firstCopies } from './log.ts'
import type { Finding, Verdict } from './verdict.ts'

/**
 * Decides whether a history keeps the promises. Pure. Each step is compared with the one before it only (answers, rows,
 * records, effects), so that one fault has one name; the last look, at likes against counts, speaks only where all
 * these hold.
 */
export function check(history: History): Verdict {
  const { findings: answers, undecided } = checkAnswers(history)
  const found = [...answers, ...checkLog(history), ...checkEffects(history)]
  const findings = found.filter(({ excuse }) => excuse === undefined)
  const { requests, events, records, transactions } = history
  const decodable = records.filter(({ event }) => event !== null)
  return {
    findings: findings.length > 0 ? findings : checkDrift(history),
    facts: {
      requests: requests.length,
      done: requests.filter(({ answer }) => answer === 'done').length,
      unknown: requests.filter(({ answer }) => answer === 'unknown').length,
      events: events.length,
      records: records.length,
      copies: decodable.length - firstCopies(records).size,
      transactions: transactions.length,
      undecided,
      excused: found.length - findings.length,
    },
  }
}

/** A product with parked events may differ by them. */
function checkDrift({ likes, counts, events, letters }: History): Finding[] {
  const parked = new Set(letters.map(({ id }) => id))
  const aside = new Set(
    events.filter((event) => isAside(event.status) || parked.has(event.id)).map(productOf),
  )
  const likesOf = groupBy(likes, productOf)
  const countOf = new Map(counts.map(({ productId, count }) => [productId, count]))
  return [...new Set([...likesOf.keys(), ...countOf.keys()])].flatMap((productId): Finding[] => {
    const [has, count] = [likesOf.get(productId)?.length ?? 0, countOf.get(productId) ?? 0]
    if (has === count || aside.has(productId)) return []
    const what = `product ${productId} has ${has} likes and is counted as ${count}, although every event had its effect once.`
    return [{ anomaly: 'torn write', what, evidence: [`count of product ${productId}: ${count}`] }]
  })
}

const isAside = (status: string): boolean => status === 'PARKED' || status === 'DISCARDED'
const productOf = ({ productId }: { productId: number }): number => productId
