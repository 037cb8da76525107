import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { decode, encode, type Decoded, type Envelope, type LikeEvent, type RefusedReason } from './index.ts'

const bare: LikeEvent = {
  type: 'catalog.like.added.v1',
  id: '01936d2a-7c1f-7e3b-9a54-0f6c2d81b7e9',
  source: '/likewise/like-api',
  time: '2024-11-27T09:14:05.407Z',
  data: { userId: 1, productId: 100, createdAt: '2024-11-27T09:14:05.402817Z' },
}
const sequence = '42'
const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
const added: LikeEvent = { ...bare, sequence, traceparent }
const good = encode(added)
const notUtf8 = Uint8Array.of(0x22, 0xc3, 0x28, 0x22)

const withValue = (value: Envelope['value']): Envelope => ({ ...good, value })
const withHeaders = (headers: Envelope['headers']): Envelope => ({
  ...good,
  headers: { ...good.headers, ...headers },
})
const withData = (data: Record<string, unknown>): Envelope =>
  withValue(JSON.stringify({ ...added.data, ...data }))

describe('a good record', () => {
  it('gives back the event that was encoded, whatever the event', () => {
    fc.assert(
      fc.property(events, (event) => {
        expect(decode(encode(event))).toEqual({ kind: 'event', event })
      }),
    )
  })

  it('gives back the same event from bytes', () => {
    fc.assert(
      fc.property(events, (event) => {
        expect(decode(inBytes(encode(event)))).toEqual({ kind: 'event', event })
      }),
    )
  })

  it('has its id in lower case, so that a duplicate meets its first copy', () => {
    expect(decode(withHeaders({ ce_id: added.id.toUpperCase() }))).toEqual({ kind: 'event', event: added })
  })

  it('may carry fields and headers that a later producer added; they are dropped', () => {
    const later = { ...added.data, device: { name: '좋아요 \ud800', size: 1.5 }, constructor: 'Ford' }
    const envelope = {
      ...withHeaders({ ce_dataschema: notUtf8, other: ['a', 'b'] }),
      value: JSON.stringify(later),
    }
    expect(decode(envelope)).toEqual({ kind: 'event', event: added })
  })

  it('takes a header without a value for one that is not there', () => {
    const nothing = { ce_subject: null, ce_sequence: null, traceparent: null, 'content-type': null }
    expect(decode(withHeaders(nothing))).toEqual({ kind: 'event', event: bare })
    expect(decode(withHeaders({ ce_id: null }))).toMatchObject({ kind: 'refused', reason: 'missing_header' })
  })

  it('may lack what CloudEvents makes optional: subject, sequence, traceparent, content-type', () => {
    const optional = { ce_subject: undefined, ce_sequence: undefined, traceparent: undefined }
    expect(decode(withHeaders({ ...optional, 'content-type': undefined }))).toEqual({
      kind: 'event',
      event: bare,
    })
  })

  it.each([
    ['repeated by an instrumentation', [traceparent, '00-0-0-0']],
    ['not in W3C form', 'b3=1'],
    ['all zeros', '00-00000000000000000000000000000000-00f067aa0ba902b7-01'],
  ])('is not parked for a traceparent that is %s; the trace just ends', (_why, broken) => {
    expect(decode(withHeaders({ traceparent: broken }))).toEqual({
      kind: 'event',
      event: { ...bare, sequence },
    })
  })

  it.each(['application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'Application/JSON'])(
    'may call its content %s',
    (contentType) => {
      expect(decode(withHeaders({ 'content-type': contentType })).kind).toBe('event')
    },
  )

  it.each([
    [
      'spaces and another order',
      '\n{ "createdAt":"2024-11-27T09:14:05.402817Z", "productId":100, "userId":1 } ',
    ],
    ['a byte order mark', '\uFEFF' + good.value],
    ['1e2 for 100', good.value.replace('100', '1e2')],
  ])('may write its JSON with %s', (_how, value) => {
    expect(decode(withValue(Buffer.from(value)))).toEqual({ kind: 'event', event: added })
  })
})

describe('a record of another family', () => {
  it.each(['catalog.product.created.v1', 'orders.order.placed.v1', 'catalog.likes.added.v1', 'catalog.like'])(
    'is foreign: %s',
    (type) => {
      expect(decode(withHeaders({ ce_type: type }))).toEqual({ kind: 'foreign', type })
    },
  )

  it('is foreign whatever else it holds, for the rest is not ours to judge', () => {
    const ce_type = Buffer.from('orders.order.placed.v1')
    const foreign: Envelope = {
      key: null,
      value: null,
      headers: { ce_type, ce_specversion: '0.3', ce_id: notUtf8 },
    }
    expect(decode(foreign)).toEqual({ kind: 'foreign', type: 'orders.order.placed.v1' })
  })
})

const hostile: readonly (readonly [string, Envelope, RefusedReason])[] = [
  ['no value (a tombstone)', withValue(null), 'no_value'],
  ['an empty value', withValue(new Uint8Array()), 'no_value'],
  ['text that is not JSON', withValue('userId=1'), 'not_json'],
  ['half a JSON text', withValue(good.value.slice(0, -1)), 'not_json'],
  ['two JSON texts', withValue(good.value + good.value), 'not_json'],
  ['a NUL behind its JSON', withValue(good.value + '\0'), 'not_json'],
  ['NULs only', withValue(new Uint8Array(64)), 'not_json'],
  ['NaN for a number', withValue(good.value.replace('100', 'NaN')), 'not_json'],
  ['a leading zero', withValue(good.value.replace('100', '0100')), 'not_json'],
  ['a value that is not UTF-8', withValue(notUtf8), 'not_json'],
  ['UTF-16', withValue(Buffer.from(good.value, 'utf16le')), 'not_json'],
  ['a million open brackets', withValue('['.repeat(1_000_000)), 'not_json'],
  ['a null for its JSON', withValue('null'), 'bad_payload'],
  ['a number for its JSON', withValue('1'), 'bad_payload'],
  ['an array', withValue(`[${good.value}]`), 'bad_payload'],
  ['brackets 100,000 deep', withValue('['.repeat(100_000) + ']'.repeat(100_000)), 'bad_payload'],
  ['brackets 100,000 deep for its user', withValue(nested(100_000)), 'bad_payload'],
  ['a value of 2 MB', withValue(`{"pad":"${'x'.repeat(2_000_000)}",${good.value.slice(1)}`), 'bad_payload'],
  ['__proto__', withValue(`{"__proto__":{"admin":1},${good.value.slice(1)}`), 'poisoned'],
  ['__proto__ in escapes', withValue(`{"\\u005f_proto__":{},${good.value.slice(1)}`), 'poisoned'],
  [
    '__proto__ inside a field it may add',
    withValue(`{"a":[{"__proto__":1}],${good.value.slice(1)}`),
    'poisoned',
  ],
  ['constructor.prototype', withValue(`{"constructor":{"prototype":{}},${good.value.slice(1)}`), 'poisoned'],
  ['a user of 0', withData({ userId: 0 }), 'bad_payload'],
  ['a user of −1', withData({ userId: -1 }), 'bad_payload'],
  ['a user of 1.5', withData({ userId: 1.5 }), 'bad_payload'],
  ['a user of 2^53', withData({ userId: 2 ** 53 }), 'bad_payload'],
  ['a user of 2^53 + 1', withValue(good.value.replace('1,', '9007199254740993,')), 'bad_payload'],
  ['a user of 1e400', withValue(good.value.replace('1,', '1e400,')), 'bad_payload'],
  ['a user in quotes', withData({ userId: '1' }), 'bad_payload'],
  ['a user of null', withData({ userId: null }), 'bad_payload'],
  ['a user of true', withData({ userId: true }), 'bad_payload'],
  ['no user', withData({ userId: undefined }), 'bad_payload'],
  ['a product in quotes', withData({ productId: '100' }), 'bad_payload'],
  ['a product of [100]', withData({ productId: [100] }), 'bad_payload'],
  ['no product', withData({ productId: undefined }), 'bad_payload'],
  ['no createdAt', withData({ createdAt: undefined }), 'bad_payload'],
  ['createdAt in milliseconds', withData({ createdAt: 1732698845407 }), 'bad_payload'],
  ['a lone surrogate in createdAt', withValue(good.value.replace('.402817Z', '\\ud800')), 'bad_payload'],
  ['a NUL in createdAt', withValue(good.value.replace('.402817Z', '\\u0000Z')), 'bad_payload'],
  ['a version we do not know', withHeaders({ ce_type: 'catalog.like.added.v2' }), 'unknown_type'],
  ['a like we do not know', withHeaders({ ce_type: 'catalog.like.doubled.v1' }), 'unknown_type'],
  ['a version with a tail', withHeaders({ ce_type: 'catalog.like.added.v1 ' }), 'unknown_type'],
  ['CloudEvents 0.3', withHeaders({ ce_specversion: '0.3' }), 'unsupported_specversion'],
  ['no specversion', withHeaders({ ce_specversion: undefined }), 'missing_header'],
  ['no headers', { ...good, headers: {} }, 'missing_header'],
  ['no type', withHeaders({ ce_type: undefined }), 'missing_header'],
  ['an empty type', withHeaders({ ce_type: '' }), 'bad_header'],
  ['a type of 1 MB', withHeaders({ ce_type: 'x'.repeat(1_000_000) }), 'bad_header'],
  ['a NUL in its type', withHeaders({ ce_type: 'orders\0' }), 'bad_header'],
  ['a type that is not UTF-8', withHeaders({ ce_type: notUtf8 }), 'bad_header'],
  ['no id', withHeaders({ ce_id: undefined }), 'missing_header'],
  ['an empty id', withHeaders({ ce_id: '' }), 'bad_id'],
  ['an id of version 4', withHeaders({ ce_id: '9b2f6c1e-5d3a-4f70-8c1b-2a3d4e5f6071' }), 'bad_id'],
  ['an id that is a number', withHeaders({ ce_id: '42' }), 'bad_id'],
  ['an id with a line break', withHeaders({ ce_id: `${added.id}\n` }), 'bad_id'],
  ['two ids', withHeaders({ ce_id: [added.id, added.id] }), 'bad_header'],
  ['an id that is not UTF-8', withHeaders({ ce_id: notUtf8 }), 'bad_header'],
  ['no source', withHeaders({ ce_source: undefined }), 'missing_header'],
  ['an empty source', withHeaders({ ce_source: '' }), 'bad_header'],
  ['a NUL in its source', withHeaders({ ce_source: '/like\0wise' }), 'bad_header'],
  ['a source of 1 MB', withHeaders({ ce_source: '/'.repeat(1_000_000) }), 'bad_header'],
  ['no time', withHeaders({ ce_time: undefined }), 'missing_header'],
  ['a time that is no date', withHeaders({ ce_time: '2023-02-29T00:00:00Z' }), 'bad_header'],
  ['two times', withHeaders({ ce_time: [added.time, added.time] }), 'bad_header'],
  ['the subject of another product', withHeaders({ ce_subject: '101' }), 'bad_header'],
  ['two subjects', withHeaders({ ce_subject: ['100', '100'] }), 'bad_header'],
  ['a sequence that is no number', withHeaders({ ce_sequence: '0x2a' }), 'bad_header'],
  ['an empty sequence', withHeaders({ ce_sequence: '' }), 'bad_header'],
  ['a traceparent that is not UTF-8', withHeaders({ traceparent: notUtf8 }), 'bad_header'],
  ['XML', withHeaders({ 'content-type': 'text/xml' }), 'bad_header'],
  ['JSON in Latin-1', withHeaders({ 'content-type': 'application/json; charset=latin1' }), 'bad_header'],
  ['a structured event', withHeaders({ 'content-type': 'application/cloudevents+json' }), 'bad_header'],
  ['no key', { ...good, key: null }, 'key_mismatch'],
  ['the key of another product', { ...good, key: '101' }, 'key_mismatch'],
  ['a key with a zero before it', { ...good, key: '0100' }, 'key_mismatch'],
]

describe('a bad record', () => {
  it.each(hostile)('is refused for %s', (_what, envelope, reason) => {
    expect(decode(envelope)).toMatchObject({
      kind: 'refused',
      reason,
      detail: expect.stringMatching(oneLine),
    })
    expect(decode(inBytes(envelope))).toMatchObject({ kind: 'refused', reason })
  })

  it('keeps its event id, in lower case, when it has any UUID', () => {
    const ce_id = '9B2F6C1E-5D3A-4F70-8C1B-2A3D4E5F6071'
    expect(decode(withHeaders({ ce_id }))).toMatchObject({ reason: 'bad_id', eventId: ce_id.toLowerCase() })
    expect(decode(withValue('{'))).toMatchObject({ reason: 'not_json', eventId: added.id })
    expect(decode(withHeaders({ ce_id: '42' }))).toMatchObject({ reason: 'bad_id', eventId: null })
    expect(decode(withHeaders({ ce_id: [added.id] }))).toMatchObject({ reason: 'bad_header', eventId: null })
  })

  it('says what is wrong in words of the wire', () => {
    expect(detailOf(withData({ userId: '1' }))).toBe('userId is not an integer from 1 to 2^53 − 1: "1"')
    expect(detailOf(withData({ createdAt: undefined }))).toBe(
      'createdAt is not an RFC 3339 date-time: undefined',
    )
    expect(detailOf({ ...good, key: null })).toBe('the record has no key, productId is 100')
    expect(detailOf({ ...good, key: '7\0' })).toBe('the key is "7\\u0000", productId is 100')
    expect(detailOf(withValue('[]'))).toBe('the value is not a JSON object: "[]"')
    expect(detailOf(withHeaders({ ce_id: undefined }))).toBe('ce_id is missing')
    for (const name of ['ce_type', 'ce_subject', 'ce_sequence', 'content-type']) {
      expect(detailOf(withHeaders({ [name]: ['1', '1'] }))).toBe(`${name} is repeated or not UTF-8`)
    }
  })

  it('sets no prototype', () => {
    decode(withValue(`{"__proto__":{"admin":1},${good.value.slice(1)}`))
    expect(({} as { admin?: number }).admin).toBeUndefined()
  })
})

describe('any record', () => {
  it('gives an outcome and never an error', () => {
    fc.assert(fc.property(records, isOutcome), { numRuns: 3_000 })
  })

  it('gives an outcome when one good byte of it is another', () => {
    const bytes = Buffer.from(good.value)
    const changes = fc.record({ at: fc.nat(bytes.length - 1), byte: fc.nat(255) })
    fc.assert(
      fc.property(changes, ({ at, byte }) => {
        const changed = Buffer.from(bytes)
        changed[at] = byte
        isOutcome(withValue(changed))
      }),
      { numRuns: 3_000 },
    )
  })

  it('is never another product, user or event than it says', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (userId, productId, createdAt) => {
        const decoded = decode(withData({ userId, productId, createdAt }))
        if (decoded.kind === 'event') expect(decoded.event.data).toEqual({ userId, productId, createdAt })
      }),
    )
  })
})

const oneLine = /^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\p{Cs}]{1,800}$/u

function isOutcome(envelope: Envelope): void {
  const decoded = decode(envelope)
  if (decoded.kind === 'refused') expect(decoded.detail).toMatch(oneLine)
  else expect(['event', 'foreign']).toContain(decoded.kind)
}

function detailOf(envelope: Envelope): string {
  const decoded: Decoded = decode(envelope)
  return decoded.kind === 'refused' ? decoded.detail : decoded.kind
}

function nested(depth: number): string {
  return good.value.replace('1,', `${'['.repeat(depth)}${']'.repeat(depth)},`)
}

/** The same record as a Kafka client hands it over. */
function inBytes({ key, value, headers }: Envelope): Envelope {
  const bytesOf = (text: Envelope['value']) => (typeof text === 'string' ? Buffer.from(text) : text)
  const bytes = Object.entries(headers).map(([name, text]) => [
    name,
    typeof text === 'string' ? Buffer.from(text) : text,
  ])
  return { key, value: bytesOf(value), headers: Object.fromEntries(bytes) as Envelope['headers'] }
}

const ids = fc.oneof(
  fc.integer({ min: 1, max: 1_000 }),
  fc.maxSafeNat().map((id) => Math.max(id, 1)),
)
const times = fc
  .date({ min: new Date('0001-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true })
  .map((date) => date.toISOString())

const events: fc.Arbitrary<LikeEvent> = fc.record(
  {
    type: fc.constantFrom('catalog.like.added.v1' as const, 'catalog.like.removed.v1' as const),
    id: fc.uuid({ version: 7 }),
    source: fc.webPath().map((path) => `/likewise${path}`.slice(0, 512)),
    time: times,
    sequence: fc.bigInt({ min: 1n, max: 2n ** 63n - 1n }).map(String),
    traceparent: fc.constantFrom(traceparent, '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00'),
    data: fc.record({ userId: ids, productId: ids, createdAt: times }, { noNullPrototype: true }),
  },
  { requiredKeys: ['type', 'id', 'source', 'time', 'data'], noNullPrototype: true },
)

const junk = fc.oneof(
  fc.constant(undefined),
  fc.string({ unit: 'binary' }),
  fc.uint8Array({ maxLength: 64 }),
  fc.array(fc.string(), { maxLength: 2 }),
)
const anyHeaders = fc.dictionary(fc.string(), junk)
/** Mostly good headers, so that the junk reaches every depth of the reader. */
const nearHeaders = fc
  .subarray([...Object.keys(good.headers)], { maxLength: 2 })
  .chain((names) => fc.tuple(...names.map((name) => junk.map((value) => [name, value] as const))))
  .map((changed) => ({ ...good.headers, ...Object.fromEntries(changed) }))

const records: fc.Arbitrary<Envelope> = fc.record({
  key: fc.oneof(fc.constant(good.key), fc.constant(null), fc.string({ unit: 'binary' })),
  value: fc.oneof(
    fc.constant(good.value),
    fc.constant(null),
    fc.uint8Array(),
    fc.json(),
    fc.string({ unit: 'binary' }),
  ),
  headers: fc.oneof(nearHeaders, anyHeaders),
})
