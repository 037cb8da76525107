import {
  type DeadLetter,
  type KeyOutcome,
  type RedriveAction,
  type WholeLetter,
  readLetter,
} from '@likewise/inbox'
import { Failure } from '@likewise/service'
import { age, table } from './table.ts'

// For people, and for machines. Pure, but for the clock of the first.

export function lettersTable(letters: readonly DeadLetter[], nowMs = Date.now()): string {
  return table(
    ['id', 'key', 'event', 'from', 'reason', 'parked for', 'state', 'why'],
    letters.map((one) => [
      String(one.id),
      shownKey(one.key),
      one.eventId ?? '-',
      `${one.topic}/${String(one.partition)}@${String(one.offset)}`,
      one.reason,
      age(nowMs - one.parkedAt.getTime()),
      stateOf(one),
      safe(one.detail),
    ]),
  ).join('\n')
}

const stateOf = ({ resolution, blocksKey }: DeadLetter): string =>
  resolution ?? (blocksKey ? 'its key waits' : 'alone')

const keyShownMax = 20
const shownKey = (key: string | null): string =>
  key === null ? '-' : key.length > keyShownMax ? `${safe(key.slice(0, keyShownMax))}…` : safe(key)

export function outcomesTable(outcomes: readonly KeyOutcome[]): string {
  return table(
    ['key', 'redriven', 'had effect before', 'discarded', 'still waiting', 'why'],
    outcomes.map(({ key, redriven, duplicates, discarded, waiting, left, stays, failed }) => [
      key ?? '-',
      String(redriven),
      String(duplicates),
      String(discarded),
      String(Math.max(waiting, left)),
      whyOf({ stays, failed }),
    ]),
  ).join('\n')
}

const whyOf = ({ stays, failed }: Pick<KeyOutcome, 'stays' | 'failed'>): string =>
  failed === undefined
    ? stays[0] === undefined
      ? ''
      : `${String(stays[0].letter.id)}: ${safe(stays[0].why)}`
    : `nothing was done: ${safe(failed)}`

interface Sum {
  keys: number
  redriven: number
  duplicates: number
  discarded: number
  left: number
  blocked: number
  /** Keys whose transaction was rolled back. */
  failed: number
}

export function summaryOf(
  { keys, redriven, duplicates, discarded, left, blocked, failed }: Sum,
  dryRun: boolean,
): string {
  const would = dryRun ? 'would be ' : ''
  const parts = [
    `${letters(redriven)} ${would}redriven`,
    ...(duplicates > 0 ? [`${String(duplicates)} had their effect before`] : []),
    ...(discarded > 0 ? [`${String(discarded)} ${would}discarded`] : []),
    ...(left > 0 ? [`${String(left)} of those asked for ${dryRun ? 'would stay' : 'stay'}`] : []),
    ...(failed > 0
      ? [
          `${String(failed)} ${failed === 1 ? 'key' : 'keys'} failed and ${failed === 1 ? 'is as it was' : 'are as they were'}`,
        ]
      : []),
  ]
  return `${parts.join(', ')}; ${flowOf(keys, blocked)}.${dryRun ? ' Nothing was changed.' : ''}`
}

/** Where an action ended before its end. Keys go by their names, and each is a transaction of its own. */
export function stoppedText(
  error: unknown,
  { last, dryRun }: { last: KeyOutcome | undefined; dryRun: boolean },
): string {
  const said = error instanceof Failure ? error.message : String(error)
  const key = last?.key ?? null
  const after = key === null ? 'the records without a key' : `key ${shownKey(key)}`
  const state = dryRun
    ? 'nothing was changed'
    : 'what is counted here is done; whether the next key is, is not known, and those behind it are as they were'
  return `Stopped after ${after}: ${safe(said)} So far ${state}. Run it again: it goes on with what is left.`
}

function flowOf(keys: number, blocked: number): string {
  if (keys === 1) return blocked === 0 ? 'its key waits for nothing' : 'its key waits on'
  return blocked === 0
    ? `none of ${String(keys)} keys waits`
    : `${String(blocked)} of ${String(keys)} keys wait on`
}

const letters = (n: number): string => `${String(n)} dead ${n === 1 ? 'letter' : 'letters'}`

export interface Around {
  /** The head of its key, and how many wait in all; null where it holds nobody back. */
  queue: { head: DeadLetter; waiting: number } | null
  horizon: RedriveAction['horizon']
  nowMs: number
  /** `--consumer …`, where it was given. */
  asked: string
}

export function showLetter(letter: WholeLetter, around: Around): string {
  const { record } = letter
  const about: [string, string][] = [
    ['from', `${letter.topic}/${String(letter.partition)}, offset ${String(letter.offset)}`],
    ['time', record.timeMs < 0 ? 'none' : new Date(record.timeMs).toISOString()],
    ['key', letter.key === null ? 'none' : safe(letter.key)],
    ['event', `${letter.eventId ?? 'no usable id'}  ${safe(letter.eventType ?? '')}`.trimEnd()],
    ['reason', `${letter.reason}: ${safe(letter.detail)}`],
    ['attempts', String(letter.attempts)],
    ['parked', `${letter.parkedAt.toISOString()}, ${age(around.nowMs - letter.parkedAt.getTime())} ago`],
    ['copied', letter.copiedAt?.toISOString() ?? 'not yet'],
    ['state', stateLine(letter, around)],
  ]
  const headers = Object.entries(record.headers).flatMap(([name, value]) =>
    (Array.isArray(value) ? (value as unknown[]) : [value]).map(
      (one) => `    ${safe(name)}: ${headerText(one)}`,
    ),
  )
  return [
    `Dead letter ${String(letter.id)}`,
    ...about.map(([name, text]) => `  ${name.padEnd(9)} ${text}`),
    headers.length === 0 ? '  no headers' : '  headers',
    ...headers,
    ...valueLines(record.value),
    '',
    ...mendOf(letter, around).map((line) => `  ${line}`),
  ].join('\n')
}

function stateLine(letter: WholeLetter, { queue }: Around): string {
  if (letter.resolution !== null)
    return `${letter.resolution} ${letter.resolvedAt?.toISOString() ?? ''}`.trimEnd()
  if (!queue) return 'holds nobody back'
  const { head, waiting } = queue
  if (head.id === letter.id)
    return waiting === 1
      ? 'its key waits for it; nothing behind it yet'
      : `its key waits for it; ${String(waiting - 1)} behind it`
  return `waits behind ${String(head.id)} (${head.reason}), ${String(waiting)} of its key in all`
}

/** What to do about it, as commands. */
function mendOf(letter: WholeLetter, { queue, horizon, nowMs, asked }: Around): string[] {
  if (letter.resolution !== null) return ['Nothing to do.']
  const command = (words: string) => `likewise dead-letters ${words}${asked}`
  const id = String(letter.id)
  const discarding = `${command(`discard --id ${id}`)}   gives it up; what waited behind it is applied`
  if (queue && queue.head.id !== letter.id)
    return [
      `${command(`show ${String(queue.head.id)}`)}   what its key waits for: that comes first`,
      discarding,
    ]
  const reading = { horizon, nowMs, force: false }
  if ('event' in readLetter(letter, reading))
    return [
      `${command(queue ? `redrive --key ${letter.key ?? ''}` : `redrive --id ${id}`)}   applies it, in order`,
      discarding,
    ]
  if ('event' in readLetter(letter, { ...reading, force: true }))
    return [
      `${command(`redrive --id ${id} --force`)}   applies it; nobody can tell whether it had its effect before`,
      discarding,
    ]
  return ['This version cannot read it: redrive it with one that can, or', discarding]
}

const textMax = 10_000
const hexMax = 256

function valueLines(value: WholeLetter['record']['value']): string[] {
  if (value === null) return ['  no value']
  const bytes = Buffer.from(value)
  const size = `${String(bytes.length)} ${bytes.length === 1 ? 'byte' : 'bytes'}`
  const text = utf8(bytes)
  if (text === null) {
    const rows =
      bytes
        .subarray(0, hexMax)
        .toString('hex')
        .match(/.{1,32}/g) ?? []
    return [
      `  value (${size}, no UTF-8)`,
      ...rows.map((row) => `    ${row.replace(/../g, '$& ').trimEnd()}`),
      ...rest(bytes.length, hexMax),
    ]
  }
  return [
    `  value (${size})`,
    ...text
      .slice(0, textMax)
      .split('\n')
      .map((line) => `    ${safe(line)}`),
    ...rest(text.length, textMax),
  ]
}

const rest = (length: number, max: number): string[] => (length > max ? ['    … --json has all of it'] : [])

function headerText(value: unknown): string {
  if (value === null || value === undefined) return '(no value)'
  const bytes = Buffer.from(value as Uint8Array)
  const text = utf8(bytes)
  return text === null ? `0x${bytes.toString('hex')}` : safe(text)
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function utf8(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes)
  } catch {
    return null
  }
}

/** A record is a stranger's: what it holds must not drive the terminal. */
const safe = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`) // prettier-ignore

/** The record's bytes as base64. */
export function letterAsJson({ record, ...letter }: WholeLetter, queue: Around['queue']): string {
  const base64 = (bytes: unknown) =>
    bytes === null ? null : Buffer.from(bytes as Uint8Array).toString('base64')
  const headers = Object.fromEntries(
    Object.entries(record.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? (value as unknown[]).map(base64) : base64(value ?? null),
    ]),
  )
  const timeMs = record.timeMs < 0 ? null : record.timeMs
  return plainJson({
    ...letter,
    record: { timeMs, headers, value: base64(record.value) },
    waiting: queue?.waiting ?? 0,
    head: queue?.head.id ?? null,
  })
}

/** Numbers up to 2^53: ids and offsets. */
export const plainJson = (value: unknown): string =>
  JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? Number(one) : one))
