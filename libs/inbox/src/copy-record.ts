import type { WholeLetter } from './letter.ts'

/** A dead letter as a record of the dead-letter topic. */
export interface LetterCopy {
  readonly key: string | null
  readonly value: Buffer | null
  readonly headers: Record<string, string | Buffer | (string | Buffer)[]>
}

/**
 * How much of a record a copy carries. What the broker does not take whole is copied without its value, then with
 * nothing but why it was parked and where it lies: the dead letter itself keeps all of it.
 */
export const copyForms = ['whole', 'without_value', 'without_record'] as const
export type CopyForm = (typeof copyForms)[number]

/**
 * The record as it came, with headers that say why and from where. Their names are permanent; a record's own header of such
 * a name (a copy that was sent back to the topic) gives way. Pure.
 */
export function copyOf(letter: WholeLetter, consumer: string, form: CopyForm): LetterCopy {
  const { record } = letter
  const leftOut = { whole: null, without_value: 'value', without_record: 'key,value,headers' }[form]
  const withRecord = form !== 'without_record'
  const { headers, empty } = withRecord ? sendable(record.headers) : { headers: {}, empty: [] }
  const about: LetterCopy['headers'] = {
    likewise_dlq_id: String(letter.id),
    likewise_dlq_reason: letter.reason,
    likewise_dlq_detail: letter.detail,
    likewise_dlq_attempts: String(letter.attempts),
    likewise_dlq_consumer: consumer,
    likewise_dlq_topic: letter.topic,
    likewise_dlq_partition: String(letter.partition),
    likewise_dlq_offset: String(letter.offset),
    likewise_dlq_parked_at: letter.parkedAt.toISOString(),
  }
  if (record.timeMs >= 0) about['likewise_dlq_timestamp'] = new Date(record.timeMs).toISOString()
  if (leftOut !== null) about['likewise_dlq_left_out'] = leftOut
  if (empty.length > 0) about['likewise_dlq_null_headers'] = empty.join(',')
  return {
    key: withRecord ? record.key : null,
    value: form === 'whole' && record.value !== null ? Buffer.from(record.value) : null,
    headers: { ...headers, ...about },
  }
}

type Bytes = Uint8Array | string | null

/** A header without a value cannot be sent by kafkajs: it goes as an empty one, and its name is told. */
function sendable(
  headers: WholeLetter['record']['headers'],
): Pick<LetterCopy, 'headers'> & { empty: string[] } {
  const sent: [string, LetterCopy['headers'][string]][] = []
  const empty = new Set<string>()
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) continue
    const bytes = (one: Bytes): string | Buffer => {
      if (one === null) empty.add(name)
      return typeof one === 'string' ? one : Buffer.from(one ?? '')
    }
    sent.push([name, Array.isArray(value) ? (value as Bytes[]).map(bytes) : bytes(value as Bytes)])
  }
  return { headers: Object.fromEntries(sent), empty: [...empty] }
}
