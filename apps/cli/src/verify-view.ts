import { counted } from './progress.ts'
import { table } from './table.ts'
import { type FindingKind, type Told, isWaiting } from './verify-explain.ts'
import type { Found, Verified } from './verify.ts'
import type { Repaired } from './verify-repair.ts'

// For people. Pure.

const idsShownMax = 5
const productsShownMax = 50

export function verifiedText({ outcome, consumer, asOf, products, likes, ...rest }: Verified): string[] {
  const { found, more, repaired } = rest
  const compared = `${amount(products, 'product')} with ${amount(likes, 'like')}, as of ${asOf.toISOString()}`
  const shown = found.slice(0, productsShownMax)
  const wrong = found.filter(({ drift }) => drift).length + more
  if (outcome === 'equal')
    return [
      `Every count of ${consumer} is the number of its likes: ${compared}.`,
      ...shown.flatMap(explainedText),
      ...(repaired.length > 0 ? repairedText(repaired, found) : []),
    ]
  return [
    `${amount(wrong, 'product')} of ${compared}, ${wrong === 1 ? 'is' : 'are'} not right:`,
    ...table(
      ['product', 'likes', 'count', 'off by'],
      shown.map((one) =>
        [one.productId, one.likes, one.likeCount, signed(one.likeCount - one.likes)].map(String),
      ),
    ),
    ...(found.length > shown.length ? [`  … and ${amount(found.length - shown.length, 'more product')}; --json has them`] : []), // prettier-ignore
    ...(more > 0 ? [`  … and ${amount(more, 'more product')} that were not looked at: run it again after these, or likewise rebuild`] : []), // prettier-ignore
    ...shown.flatMap(explainedText),
    ...repairedText(repaired, found),
  ]
}

function explainedText({ productId, findings, drift }: Found): string[] {
  return [
    `Product ${String(productId)}${drift ? '' : ', which is right'}`,
    ...findings.map((one) => `  ${signed(one.off)}  ${sentences[one.kind](one, productId)}${namesOf(one)}`),
  ]
}

const sentences: Record<FindingKind, (finding: Told, productId: number) => string> = {
  parked: ({ count, detail }, key) => `${events(count)} parked in the outbox (${detail ?? ''}): likewise outbox parked --key ${String(key)}`,
  dead_letter: ({ count, detail }, key) => `${events(count)} a dead letter (${detail ?? ''}): likewise dead-letters list --key ${String(key)}`,
  given_up: ({ count }) => `${events(count)} given up by somebody (likewise dead-letters discard, likewise outbox discard)`,
  unpublished: ({ count }) => `${events(count)} not published yet: somebody set the cursors back`,
  missing: ({ count }) => `${events(count)} in the outbox and published, and neither had an effect nor is a dead letter`,
  forgotten: ({ count }) => `${events(count)} counted, but not remembered: a copy would be counted again`,
  uncounted: ({ count, detail }) => `of the events of ${detail ?? ''} some are remembered and not counted, one of ${String(count)}`,
  doubled: ({ off, detail }) => `of ${detail ?? ''}: ${String(Math.abs(off))} more counted than there are events`,
  bucket: ({ detail }) => `the bucket of ${detail ?? ''}; the count has each of its events once`,
  repeated: ({ count }) => `${events(count)} the same again as the one before of its user: written twice`,
  unknown: ({ count }) => `${events(count)} counted, and not in the outbox: its row was deleted, or it was never committed`,
  no_event: ({ count }) => `${count === 1 ? 'a user whose like' : `${counted(count)} users whose likes`} no event tells of: its row was deleted, or the like was changed by hand`,
  changed: () => 'the count is not the sum of its minutes, hours and days: changed by hand',
  unexplained: () => 'more than can be explained: it happened before the outbox reaches back',
} // prettier-ignore

const events = (count: number): string => (count === 1 ? 'an event is' : `${counted(count)} events are`)

function namesOf({ of, count }: Told): string {
  if (of.length === 0) return ''
  const more = count > idsShownMax ? ` and ${counted(count - idsShownMax)} more` : ''
  return `\n      ${of.slice(0, idsShownMax).join(' ')}${more}`
}

function repairedText(repaired: readonly Repaired[], found: readonly Found[]): string[] {
  if (repaired.length === 0)
    return ['likewise verify --repair puts right all but what is parked or a dead letter.']
  const waiting = new Set(found.filter(isWaiting).map(({ productId }) => productId))
  return [
    'Repaired:',
    ...repaired.slice(0, productsShownMax).map((one) => `  product ${String(one.productId)}: ${outcomeText(one, waiting.has(one.productId))}`), // prettier-ignore
  ]
}

function outcomeText({ outcome, was, likeCount, buckets, remembered }: Repaired, waits: boolean): string {
  if (outcome === 'not covered')
    return 'left as it was, since it happened before the outbox reaches back: likewise rebuild'
  const left = waits ? '; what is parked waits for a decision' : ''
  if (outcome === 'nothing to do') return `nothing to do${left}`
  const parts = [
    was === likeCount ? `the count stays ${String(likeCount)}` : `${String(was ?? 0)} → ${String(likeCount)}`,
    ...(buckets > 0 ? [`${amount(buckets, 'bucket')} of time set`] : []),
    ...(remembered > 0 ? [`${amount(remembered, 'event')} remembered`] : []),
  ]
  return `${parts.join(', ')}${left}`
}

const signed = (n: number): string => (n > 0 ? `+${String(n)}` : String(n))
const amount = (n: number, what: string): string => `${counted(n)} ${what}${n === 1 ? '' : 's'}`
