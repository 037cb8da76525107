import { Failure } from '@likewise/service'
import { describe, expect, it } from '@jest/globals'
import { MultipleErrors, NetworkError, ProtocolError, TimeoutError, UserError } from '@platformatic/kafka'
import {
  KafkaJSConnectionError,
  KafkaJSError,
  KafkaJSNonRetriableError,
  KafkaJSNumberOfRetriesExceeded,
  KafkaJSProtocolError,
  KafkaJSRequestTimeoutError,
} from 'kafkajs'
import { kafkaFailure } from './failure.ts'

const protocolError = (type: string): Error =>
  Object.assign(new KafkaJSProtocolError(new Error(`the broker says ${type}`)), { type })

describe('what Kafka says about a record or about itself', () => {
  it.each(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD', 'UNSUPPORTED_FOR_MESSAGE_FORMAT'])(
    '%s is a refused event: the same record would be refused for ever',
    (type) => {
      const failure = kafkaFailure(protocolError(type))
      expect(failure).toMatchObject({ code: 'EVENT_REFUSED', retryable: false })
      expect(failure.message).toBe(`Kafka refuses the record (${type}): the broker says ${type}`)
    },
  )

  it.each([
    'NOT_ENOUGH_REPLICAS',
    'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
    'LEADER_NOT_AVAILABLE',
    'NOT_LEADER_FOR_PARTITION',
    'REQUEST_TIMED_OUT',
    'NETWORK_EXCEPTION',
    'KAFKA_STORAGE_ERROR',
    'UNKNOWN',
    'CORRUPT_MESSAGE',
    // an access rule that slipped, or a topic that was deleted, heals; it must not count against an event
    'TOPIC_AUTHORIZATION_FAILED',
    'CLUSTER_AUTHORIZATION_FAILED',
    'SASL_AUTHENTICATION_FAILED',
    'UNKNOWN_TOPIC_OR_PARTITION',
    'INVALID_TOPIC_EXCEPTION',
    'POLICY_VIOLATION',
    // the clock of the sender, not the event
    'INVALID_TIMESTAMP',
  ])('%s is an outage: it is tried again for ever', (type) => {
    expect(kafkaFailure(protocolError(type))).toMatchObject({ code: 'BROKER_UNAVAILABLE', retryable: true })
  })

  it('is an outage when the client cannot connect, waits in vain, or gives up', () => {
    for (const error of [
      new KafkaJSConnectionError('connect ECONNREFUSED', { broker: 'localhost:1' }),
      new KafkaJSRequestTimeoutError('Request Produce timed out', {
        broker: 'b',
        correlationId: 1,
        createdAt: 0,
        sentAt: 0,
        pendingDuration: 0,
        clientId: 'test',
      }),
      new KafkaJSError('The producer is disconnected'),
      new Error('something no one has seen before'),
      'not even an error',
      undefined,
    ]) {
      expect(kafkaFailure(error).code).toBe('BROKER_UNAVAILABLE')
    }
  })

  it('is judged by its first cause, however often the client has wrapped it', () => {
    const cause = protocolError('MESSAGE_TOO_LARGE')
    const gaveUp = new KafkaJSNumberOfRetriesExceeded(cause, { retryCount: 0, retryTime: 0 })
    const wrapped = Object.assign(new KafkaJSNonRetriableError('no'), { cause: gaveUp })
    expect(kafkaFailure(wrapped)).toMatchObject({ code: 'EVENT_REFUSED', cause: wrapped })
  })

  it('is judged by all its causes where the client has bundled several, and a refusal goes before', () => {
    // As platformatic tells what the broker says of a record and of its partition, beside another partition's trouble.
    const answer = new MultipleErrors('Received response with error', [
      new ProtocolError(-1, 'Compacted topic cannot accept message without key'),
      new ProtocolError('INVALID_RECORD', 'One or more records have been rejected'),
    ])
    const several = new MultipleErrors('Producing messages failed.', [
      new ProtocolError('NOT_LEADER_OR_FOLLOWER'),
      answer,
    ])
    const failure = kafkaFailure(new AggregateError([several], 'Not all'))
    expect(failure).toMatchObject({ code: 'EVENT_REFUSED', retryable: false })
    expect(failure.message).toBe(
      'Kafka refuses the record (INVALID_RECORD): One or more records have been rejected',
    )
  })

  it('is an outage for platformatic where none of its causes is about a record', () => {
    for (const error of [
      new MultipleErrors('Cannot connect to any broker.', [new NetworkError('Connection to b:1 failed.')]),
      new MultipleErrors('Producing messages failed.', [new ProtocolError('NOT_ENOUGH_REPLICAS')]),
      new MultipleErrors('Nothing is said', []),
      new TimeoutError('Request timed out'),
      new UserError('Unknown topic likes.'),
    ]) {
      expect(kafkaFailure(error)).toMatchObject({ code: 'BROKER_UNAVAILABLE', retryable: true })
    }
  })

  it('that somebody has to end says where to look, and is an outage all the same', () => {
    const distrust = Object.assign(
      new Error('Connection error: self-signed certificate in certificate chain'),
      {
        code: 'SELF_SIGNED_CERT_IN_CHAIN',
      },
    )
    for (const [error, sentence] of [
      [
        distrust,
        /^Kafka's certificate is not to be trusted \(see KAFKA_TLS_CA, and the names in KAFKA_BROKERS\): Conn/,
      ],
      [
        Object.assign(new Error('no'), { name: 'KafkaJSSASLAuthenticationError' }),
        /^Kafka does not let this user in \(see/,
      ],
      [
        Object.assign(new Error('no'), { code: 'PLT_KFK_AUTHENTICATION' }),
        /^Kafka does not let this user in \(see/,
      ],
      [
        protocolError('TOPIC_AUTHORIZATION_FAILED'),
        /^Kafka does not let this user do it \(docs\/security.md, Kafka\)/,
      ],
      [protocolError('GROUP_AUTHORIZATION_FAILED'), /^Kafka does not let this user do it/],
    ] as const)
      expect(kafkaFailure(error)).toMatchObject({
        code: 'BROKER_UNAVAILABLE',
        message: expect.stringMatching(sentence),
      })
  })

  it('leaves a failure as it is', () => {
    const failure = new Failure('CONFIG_INVALID', 'Topic x has 3 partitions.')
    expect(kafkaFailure(failure)).toBe(failure)
  })
})
