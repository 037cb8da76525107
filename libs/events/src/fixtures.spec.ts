import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from '@jest/globals'
import { decode, encode, envelopeOf, LikeEvent, type Envelope } from './index.ts'

interface Fixture {
  readonly event: LikeEvent
  readonly envelope: Envelope & { readonly key: string; readonly value: string }
}

const folder = new URL('../fixtures/', import.meta.url)
const files = readdirSync(folder).filter((name) => name.endsWith('.json'))
const fixtures = files.map(
  (name) => [name, JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Fixture] as const,
)

// A version that is no longer sent leaves this list; its fixture stays and must still decode.
const sent: readonly string[] = LikeEvent.anyOf.map((schema) => schema.properties.type.const)

describe('golden fixtures', () => {
  it('hold every event type that is sent', () => {
    expect(fixtures.map(([, { event }]) => event.type)).toEqual(expect.arrayContaining([...sent]))
  })

  it.each(fixtures)('%s decodes to its event, as text and as bytes', (_name, { event, envelope }) => {
    expect(decode(envelope)).toEqual({ kind: 'event', event })
    expect(decode(asBytes(envelope))).toEqual({ kind: 'event', event })
  })

  it.each(fixtures.filter(([, { event }]) => sent.includes(event.type)))(
    '%s is what the encoder writes, byte for byte and in this order',
    (_name, { event, envelope }) => {
      expect(JSON.stringify(encode(event))).toBe(JSON.stringify(envelope))
    },
  )

  it.each(fixtures.filter(([, { event }]) => sent.includes(event.type)))(
    '%s is what the relay sends for its outbox row',
    (_name, { event, envelope }) => {
      const sequence = event.sequence ?? '7'
      const row = {
        id: event.id,
        eventType: event.type,
        aggregateId: envelope.key,
        partitionKey: envelope.key,
        payload: envelope.value,
        createdAt: event.time,
        seq: sequence,
        traceparent: event.traceparent ?? null,
        headers: null,
      }
      expect(JSON.stringify(envelopeOf(row, event.source))).toBe(
        JSON.stringify(encode({ ...event, sequence })),
      )
    },
  )
})

function asBytes({ key, value, headers }: Fixture['envelope']): Envelope {
  const bytes = Object.entries(headers).map(([name, text]) => [name, Buffer.from(text as string)] as const)
  return { key, value: Buffer.from(value), headers: Object.fromEntries(bytes) }
}
