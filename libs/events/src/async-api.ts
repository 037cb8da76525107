import { type TSchema, Type } from 'typebox'
import { DeadLetterHeaders } from './dead-letter-headers.ts'
import { encode } from './encode.ts'
import { LikeAdded, type LikeEvent, LikeRemoved } from './like-event.ts'
import { topicPlans, topics } from './topics.ts'

type LikeSchema = typeof LikeAdded | typeof LikeRemoved

const bindingVersion = '0.5.0'
const Key = Type.String({
  pattern: '^[1-9][0-9]{0,15}$',
  description: 'The product id: events of a product lie in one partition, in order.',
})

/** The AsyncAPI 3 document of the topics, made of the schemas that events are checked by. Pure. */
export function asyncApi(version: string): Record<string, unknown> {
  return plain({
    asyncapi: '3.0.0',
    info: {
      title: 'Likewise: events',
      version,
      description:
        'CloudEvents 1.0, Kafka binding, binary mode. Delivery is at least once: handle an event once by its `ce_id`. ' +
        'Within v1 only optional fields are added: ignore those you do not know. Partitioner: murmur2, as Java has it.',
      license: { name: 'MIT', url: 'https://spdx.org/licenses/MIT.html' },
    },
    defaultContentType: 'application/json',
    servers: {
      local: { host: '127.0.0.1:9092', protocol: 'kafka', description: 'What KAFKA_BROKERS names.' },
    },
    channels: {
      catalogEvents: {
        ...channelOf(topics.catalogEvents, 'Likes and unlikes. Promise I4 says what order they have.'),
        messages: { likeAdded: ref('messages/likeAdded'), likeRemoved: ref('messages/likeRemoved') },
      },
      deadLetters: {
        ...channelOf(topics.deadLetters, 'Copies of records that the consumer could not handle.'),
        messages: { deadLetter: ref('messages/deadLetter') },
      },
    },
    operations: {
      publishEvents: operationOf('send', 'catalogEvents', 'outbox-relay (or Debezium) publishes'),
      handleEvents: operationOf('receive', 'catalogEvents', 'metrics-consumer counts each event once'),
      copyDeadLetters: operationOf('send', 'deadLetters', 'metrics-consumer copies what it parked'),
    },
    components: {
      messages: {
        likeAdded: messageOf(LikeAdded, 'A user likes a product now'),
        likeRemoved: messageOf(LikeRemoved, 'A user has taken a like back'),
        deadLetter,
      },
    },
  })
}

const ref = (place: string) => ({ $ref: `#/components/${place}` })

function channelOf(topic: string, description: string) {
  const plan = topicPlans.find((one) => one.topic === topic)
  return {
    address: topic,
    description,
    bindings: {
      kafka: {
        topic,
        partitions: plan?.partitions,
        topicConfiguration: { 'cleanup.policy': ['delete'], 'retention.ms': plan?.retentionMs },
        bindingVersion,
      },
    },
  }
}

const operationOf = (action: 'send' | 'receive', channel: string, summary: string) => ({
  action,
  channel: { $ref: `#/channels/${channel}` },
  summary,
})

function messageOf(schema: LikeSchema, summary: string) {
  const type = schema.properties.type.const
  const { key, value, headers } = encode(exampleOf(type))
  return {
    name: type,
    title: type,
    summary,
    contentType: 'application/json',
    headers: recordHeaders(schema),
    payload: schema.properties.data,
    bindings: { kafka: { key: Key, bindingVersion } },
    examples: [{ name: `key ${key}`, headers, payload: JSON.parse(value) as unknown }],
  }
}

/** As headersOf writes them and decode reads them; a test holds all three together. */
function recordHeaders({ properties: of }: LikeSchema): TSchema {
  return Type.Object({
    ce_specversion: Type.Literal('1.0'),
    ce_id: described(of.id, 'UUID v7: an event is handled once by it. Copies have the same.'),
    ce_source: described(of.source, 'Who published it.'),
    ce_type: of.type,
    ce_time: described(of.time, 'When it was written into the outbox.'),
    ce_subject: Type.Optional(described(Key, 'The product id, as the key.')),
    'content-type': Type.Optional(Type.Literal('application/json')),
    ce_sequence: Type.Optional(described(of.sequence, "The outbox row's seq. It orders nothing.")),
    traceparent: Type.Optional(described(of.traceparent, 'W3C Trace Context: the trace of the request.')),
  })
}

/** As JSON Schema; what makes it optional does not come along. */
const described = <S extends TSchema>(schema: S, description: string): S => ({ ...schema, description })

const deadLetter = {
  name: 'dead-letter',
  title: 'Copy of a dead letter',
  summary: 'The record as it came, with headers that say why and from where',
  contentType: 'application/octet-stream',
  headers: DeadLetterHeaders,
  payload: { description: "The record's value, byte for byte." },
  bindings: {
    kafka: { key: { type: ['string', 'null'], description: "The record's key." }, bindingVersion },
  },
}

const exampleOf = (type: LikeEvent['type']): LikeEvent => ({
  type,
  id: '01936d2a-7c1f-7e3b-9a54-0f6c2d81b7e9',
  source: '/likewise/like-api',
  time: '2024-11-27T09:14:05.407Z',
  sequence: '42',
  traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  data: { userId: 1, productId: 100, createdAt: '2024-11-27T09:14:05.402817Z' },
})

/** Without what TypeBox keeps for itself. */
const plain = (value: Record<string, unknown>): Record<string, unknown> =>
  JSON.parse(JSON.stringify(value)) as Record<string, unknown>
