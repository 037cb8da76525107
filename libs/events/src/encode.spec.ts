import { describe, expect, it } from '@jest/globals'
import {
  aggregateType,
  encode,
  envelopeOf,
  partitionKeyOf,
  shardCount,
  catalogEventsPartitions,
  type LikeEvent,
} from './index.ts'

const event: LikeEvent = {
  type: 'catalog.like.removed.v1',
  id: '01936d2a-7c1f-7e3b-9a54-0f6c2d81b7e9',
  source: '/likewise/like-api',
  time: '2024-11-27T09:14:05.407Z',
  data: { createdAt: '2024-11-27T09:14:05.402817Z', productId: 100, userId: 1 },
}

describe('encode', () => {
  it('writes the value in one order and without spaces, however the event was put together', () => {
    expect(encode(event).value).toBe('{"userId":1,"productId":100,"createdAt":"2024-11-27T09:14:05.402817Z"}')
  })

  it('writes no field that the contract does not know', () => {
    const data = { ...event.data, email: 'secret@example.org' }
    expect(encode({ ...event, data })).toEqual(encode(event))
  })

  it('keys an event by its product', () => {
    expect(encode(event).key).toBe('100')
    expect(partitionKeyOf(event)).toBe('100')
    expect(aggregateType).toBe('product')
  })

  it.each([
    ['/id', { id: '01936D2A-7C1F-7E3B-9A54-0F6C2D81B7E9' }],
    ['/time', { time: 'yesterday' }],
    ['/data/userId', { data: { ...event.data, userId: 2 ** 53 } }],
    ['/data/productId', { data: { ...event.data, productId: 1.5 } }],
  ])('refuses to send what the reader would refuse: %s', (path, fault) => {
    expect(() => encode({ ...event, ...fault })).toThrow(path)
  })

  it('refuses a type it does not know', () => {
    expect(() => encode({ ...event, type: 'catalog.like.added.v9' } as unknown as LikeEvent)).toThrow(
      TypeError,
    )
  })
})

describe('envelopeOf', () => {
  const row = {
    id: event.id,
    eventType: event.type,
    aggregateId: '100',
    partitionKey: '100',
    payload: '{ "productId": 100,\t"userId": 1, "note": "\\u00e9 é", "createdAt": "…" }',
    createdAt: event.time,
    seq: '42',
    traceparent: null,
    headers: null,
  }

  it('sends the payload as it was stored', () => {
    expect(envelopeOf(row, event.source).value).toBe(row.payload)
  })

  it("sends the row's own headers beside the contract's, and lets none replace one", () => {
    const headers = { tenant: 'blue', ce_id: 'forged', ce_sequence: '1', 'content-type': 'text/plain' }
    expect(envelopeOf({ ...row, headers }, event.source).headers).toEqual({
      tenant: 'blue',
      ...envelopeOf(row, event.source).headers,
    })
  })
})

describe('the topic', () => {
  it('has a multiple of the shards for partitions, so that a shard feeds its own partitions only', () => {
    expect(catalogEventsPartitions % shardCount).toBe(0)
  })
})
