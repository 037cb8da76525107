import { parse } from 'secure-json-parse'
import { faultOf, isKnownType, isLikeEvent } from './check.ts'
import type { Envelope, HeaderValue } from './envelope.ts'
import { likeFamily, partitionKeyOf, traceparentPattern, type LikeEvent } from './like-event.ts'
import { readUtf8 } from './utf8.ts'

/** Kept with a parked event and shown to operators, so the words are permanent. */
export type RefusedReason =
  | 'no_value'
  | 'not_json'
  | 'poisoned'
  | 'bad_payload'
  | 'bad_header'
  | 'missing_header'
  | 'bad_id'
  | 'unknown_type'
  | 'unsupported_specversion'
  | 'key_mismatch'

/** Detail is one line of at most 800 characters without control characters, safe to log and to store. */
export interface Refused {
  kind: 'refused'
  reason: RefusedReason
  detail: string
  eventId: string | null
}

export type Decoded = { kind: 'event'; event: LikeEvent } | { kind: 'foreign'; type: string } | Refused

/** Bytes, or UTF-16 units of a text; what a broker accepts by default (message.max.bytes). Ours have under 120. */
const valueSizeMax = 1_048_576
const typeLengthMax = 255
const shownLengthMax = 100

const uuid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i
const attributeText = /^[^\u0000-\u001f\u007f-\u009f]+$/
const jsonContentType = /^application\/json *(?:; *charset="?utf-8"? *)?$/i
const traceparentForm = new RegExp(traceparentPattern)
const noPoison = { protoAction: 'error', constructorAction: 'error' } as const

/** Where an event may break its schema, in the words of the wire. */
const faults: Readonly<
  Record<string, { reason: RefusedReason; is: string; of: (event: Candidate) => unknown }>
> = {
  '/id': { reason: 'bad_id', is: 'ce_id is not a UUID v7', of: (event) => event.id },
  '/source': {
    reason: 'bad_header',
    is: 'ce_source is empty, longer than 512 or has control characters',
    of: (event) => event.source,
  },
  '/time': { reason: 'bad_header', is: 'ce_time is not an RFC 3339 date-time', of: (event) => event.time },
  '/sequence': {
    reason: 'bad_header',
    is: 'ce_sequence is not a decimal number of at most 19 digits',
    of: (event) => event.sequence,
  },
  '/data/userId': {
    reason: 'bad_payload',
    is: 'userId is not an integer from 1 to 2^53 − 1',
    of: (event) => event.data.userId,
  },
  '/data/productId': {
    reason: 'bad_payload',
    is: 'productId is not an integer from 1 to 2^53 − 1',
    of: (event) => event.data.productId,
  },
  '/data/createdAt': {
    reason: 'bad_payload',
    is: 'createdAt is not an RFC 3339 date-time',
    of: (event) => event.data.createdAt,
  },
}

/**
 * Reads a record. Never throws, whatever the bytes: what cannot be read is an outcome, for a bad record must stop
 * only its own key.
 *
 * The reader is tolerant of fields it does not know: they are ignored and dropped, because a new optional field is a
 * compatible change within v1 and consumers are deployed after producers. Everything it does know is exact.
 * A type outside our family is foreign whatever else the record holds; nothing but the type is ours to judge.
 */
export function decode(envelope: Envelope): Decoded {
  const { headers } = envelope
  const id = headerText(headers.ce_id)
  const eventId = typeof id === 'string' && uuid.test(id) ? id.toLowerCase() : null

  const type = headerText(headers.ce_type)
  if (typeof type !== 'string') return withoutHeader('ce_type', type, eventId)
  if (!isKnownType(type)) {
    if (!isAttribute(type)) return refused('bad_header', `ce_type is not a type: ${shown(type)}`, eventId)
    if (!type.startsWith(likeFamily)) return { kind: 'foreign', type }
  }
  const version = headerText(headers.ce_specversion)
  if (typeof version !== 'string') return withoutHeader('ce_specversion', version, eventId)
  if (version !== '1.0') {
    return refused('unsupported_specversion', `ce_specversion is not 1.0: ${shown(version)}`, eventId)
  }
  if (!isKnownType(type)) return refused('unknown_type', `no reader for ${shown(type)}`, eventId)

  if (typeof id !== 'string') return withoutHeader('ce_id', id, eventId)
  const source = headerText(headers.ce_source)
  if (typeof source !== 'string') return withoutHeader('ce_source', source, eventId)
  const time = headerText(headers.ce_time)
  if (typeof time !== 'string') return withoutHeader('ce_time', time, eventId)
  const subject = headerText(headers.ce_subject)
  if (subject === null) return withoutHeader('ce_subject', subject, eventId)
  const sequence = headerText(headers.ce_sequence)
  if (sequence === null) return withoutHeader('ce_sequence', sequence, eventId)
  const traceparent = traceparentText(headers.traceparent)
  if (traceparent === null) return withoutHeader('traceparent', traceparent, eventId)
  const contentType = headerText(headers['content-type'])
  if (contentType === null) return withoutHeader('content-type', contentType, eventId)
  // Absent is fine: connectors leave it out, and the value says for itself whether it is JSON.
  if (contentType !== undefined && !isJsonType(contentType)) {
    return refused(
      'bad_header',
      `content-type is not application/json in UTF-8: ${shown(contentType)}`,
      eventId,
    )
  }

  const value = readValue(envelope.value)
  if (value.kind === 'unreadable') return refused(value.reason, value.detail, eventId)
  const event: Candidate = { type, id: id.toLowerCase(), source, time, data: value.data }
  if (sequence !== undefined) event.sequence = sequence
  if (traceparent !== undefined) event.traceparent = traceparent
  if (!isLikeEvent(event)) return faulty(event, eventId)

  const product = partitionKeyOf(event)
  if (envelope.key !== product) {
    const key = envelope.key === null ? 'the record has no key' : `the key is ${shown(envelope.key)}`
    return refused('key_mismatch', `${key}, productId is ${product}`, eventId)
  }
  if (subject !== undefined && subject !== product) {
    return refused('bad_header', `ce_subject is ${shown(subject)}, productId is ${product}`, eventId)
  }
  return { kind: 'event', event }
}

/** What the record says, before the schema has judged it. */
interface Candidate {
  type: string
  id: string
  source: string
  time: string
  sequence?: string
  traceparent?: string
  data: { userId: unknown; productId: unknown; createdAt: unknown }
}

type Value =
  { kind: 'data'; data: Candidate['data'] } | { kind: 'unreadable'; reason: RefusedReason; detail: string }

function readValue(value: Envelope['value']): Value {
  if (value === null) return unreadable('no_value', 'the value is null')
  if (value.length === 0) return unreadable('no_value', 'the value is empty')
  if (value.length > valueSizeMax) {
    return unreadable(
      'bad_payload',
      `the value has a size of ${String(value.length)}, the limit is ${String(valueSizeMax)}`,
    )
  }
  const text = typeof value === 'string' ? value : readUtf8(value)
  if (text === null) return unreadable('not_json', 'the value is not UTF-8')
  let data: unknown
  try {
    data = parse(text, noPoison)
  } catch {
    if (isJson(text)) return unreadable('poisoned', `the value sets a prototype: ${shown(text)}`)
    return unreadable('not_json', `the value is not JSON: ${shown(text)}`)
  }
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    return unreadable('bad_payload', `the value is not a JSON object: ${shown(text)}`)
  }
  const { userId, productId, createdAt } = data as Candidate['data']
  return { kind: 'data', data: { userId, productId, createdAt } }
}

function faulty(event: Candidate, eventId: string | null): Refused {
  const { path, message } = faultOf(event)
  const fault = faults[path]
  return fault === undefined
    ? refused('bad_payload', `${path} ${message}`, eventId)
    : refused(fault.reason, `${fault.is}: ${shown(fault.of(event))}`, eventId)
}

/** undefined: absent, or without a value; null: there, but repeated or not UTF-8. */
function headerText(value: HeaderValue): string | null | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string') return value
  return value instanceof Uint8Array ? readUtf8(value) : null
}

/**
 * Tracing is no part of the fact: some instrumentations add a second traceparent or one of their own make, and a like
 * must not be parked for it. Such a trace ends here.
 */
function traceparentText(value: HeaderValue): string | null | undefined {
  if (Array.isArray(value)) return undefined
  const text = headerText(value)
  return typeof text === 'string' && !traceparentForm.test(text) ? undefined : text
}

function isAttribute(text: string): boolean {
  return text.length <= typeLengthMax && attributeText.test(text)
}

function isJsonType(contentType: string): boolean {
  return contentType === 'application/json' || jsonContentType.test(contentType)
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

function withoutHeader(name: string, text: null | undefined, eventId: string | null): Refused {
  return text === undefined
    ? refused('missing_header', `${name} is missing`, eventId)
    : refused('bad_header', `${name} is repeated or not UTF-8`, eventId)
}

function refused(reason: RefusedReason, detail: string, eventId: string | null): Refused {
  return { kind: 'refused', reason, detail, eventId }
}

function unreadable(reason: RefusedReason, detail: string): Value {
  return { kind: 'unreadable', reason, detail }
}

/** Quoted and cut, without what a log line or a PostgreSQL text cannot hold (control characters, lone surrogates). */
function shown(value: unknown): string {
  if (typeof value === 'string') {
    return JSON.stringify(value.slice(0, shownLengthMax)).replace(/[\u007f-\u009f\u2028\u2029]/g, '\uFFFD')
  }
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return String(value)
}
