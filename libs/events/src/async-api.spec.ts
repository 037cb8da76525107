import { readFileSync } from 'node:fs'
import { Compile } from 'typebox/compile'
import { describe, expect, it } from '@jest/globals'
import { asyncApi } from './async-api.ts'
import { LikeEvent, encode, topicPlans } from './index.ts'

interface Message {
  name: string
  headers: object
  payload: object
  bindings: { kafka: { key: object } }
  examples: { headers: object; payload: object }[]
}
interface Document {
  channels: Record<string, { address: string; messages: Record<string, { $ref: string }> }>
  components: { messages: Record<string, Message> }
}

const document = asyncApi('1.2.3') as unknown as Document
const messages = Object.values(document.components.messages).filter(({ name }) => name !== 'dead-letter')
const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8')) as {
    event: LikeEvent
    envelope: { key: string; value: string; headers: Record<string, string> }
  }
const fixtures = ['like-added.v1.json', 'like-removed.v1.json'].map(fixture)

describe('the AsyncAPI document', () => {
  it('has every topic, and a message of every event type', () => {
    expect(Object.values(document.channels).map(({ address }) => address)).toEqual(
      topicPlans.map(({ topic }) => topic),
    )
    expect(messages.map(({ name }) => name)).toEqual(
      LikeEvent.anyOf.map((schema) => schema.properties.type.const),
    )
  })

  it.each(fixtures)('holds for the golden fixture $event.type', ({ event, envelope }) => {
    const message = messages.find(({ name }) => name === event.type)
    expect(Compile(message?.headers ?? {}).Check(envelope.headers)).toBe(true)
    expect(Compile(message?.payload ?? {}).Check(JSON.parse(envelope.value))).toBe(true)
    expect(Compile(message?.bindings.kafka.key ?? {}).Check(envelope.key)).toBe(true)
  })

  it.each(fixtures)('knows every header that an event of type $event.type is written with', ({ event }) => {
    const message = messages.find(({ name }) => name === event.type)
    const { properties } = message?.headers as { properties: object }
    const { headers } = encode({
      ...event,
      sequence: '1',
      traceparent: `00-${'1'.repeat(32)}-${'1'.repeat(16)}-01`,
    })
    expect(Object.keys(properties).sort()).toEqual(Object.keys(headers).sort())
  })

  it('refuses what the consumer would park', () => {
    const [message] = messages
    const headers = Compile(message?.headers ?? {})
    const known = fixtures[0]?.envelope.headers ?? {}
    for (const [name, value] of [
      ['ce_id', 'no-uuid'],
      ['ce_specversion', '0.3'],
      ['ce_time', 'yesterday'],
      ['ce_subject', '0'],
    ] as const) {
      expect([name, headers.Check({ ...known, [name]: value })]).toEqual([name, false])
    }
    expect(Compile(message?.payload ?? {}).Check({ userId: 0, productId: 1, createdAt: 'x' })).toBe(false)
  })
})
