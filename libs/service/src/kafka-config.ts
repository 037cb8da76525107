import { X509Certificate, createPrivateKey } from 'node:crypto'
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { brokers, parseBrokers } from './config.ts'
import { Failure } from './failure.ts'

/** Where Kafka is, and how its brokers and we prove who we are. */
export const KafkaConfig = Type.Object({
  KAFKA_BROKERS: brokers(),
  KAFKA_TLS: Type.Boolean({
    default: false,
    description: 'Whether the way to Kafka is encrypted, and each broker proves that it is the one asked for',
  }),
  KAFKA_TLS_CA: Type.Optional(
    Type.String({
      format: 'certificates',
      description: 'With TLS: who may sign for brokers, as PEM; unset: whom Node trusts',
    }),
  ),
  KAFKA_TLS_CERT: Type.Optional(
    Type.String({
      format: 'certificates',
      description: 'With TLS, where brokers ask for it: the certificate of this client, as PEM',
    }),
  ),
  KAFKA_TLS_KEY: Type.Optional(
    Type.String({ format: 'private-key', description: 'The key of KAFKA_TLS_CERT, as PEM' }),
  ),
  KAFKA_SASL_MECHANISM: Type.Union(
    [Type.Literal('scram-sha-512'), Type.Literal('scram-sha-256'), Type.Literal('plain')],
    { default: 'scram-sha-512', description: 'How the password is proven; plain sends it, so only with TLS' },
  ),
  KAFKA_SASL_USERNAME: Type.Optional(
    Type.String({ minLength: 1, description: 'User that Kafka knows this client by; unset: no SASL' }),
  ),
  KAFKA_SASL_PASSWORD: Type.Optional(Type.String({ minLength: 1, description: 'Its password' })),
})

/** What a Kafka client must know to connect. */
export interface KafkaAccess {
  readonly brokers: readonly string[]
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
  readonly sasl?: {
    readonly mechanism: 'scram-sha-512' | 'scram-sha-256' | 'plain'
    readonly username: string
    readonly password: string
  }
}

/** Throws CONFIG_INVALID where one setting makes no sense without another: what looks safe must be. */
export function readKafka(config: Static<typeof KafkaConfig>): KafkaAccess {
  const { KAFKA_TLS_CA: ca, KAFKA_TLS_CERT: cert, KAFKA_TLS_KEY: key } = config
  const { KAFKA_SASL_MECHANISM: mechanism } = config
  const { KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = config
  const problems = [
    ...(!config.KAFKA_TLS && (ca || cert || key)
      ? [
          'KAFKA_TLS is not true, so certificates would not be looked at: set it, or leave out KAFKA_TLS_CA, _CERT and _KEY.',
        ]
      : []),
    ...(Boolean(cert) !== Boolean(key)
      ? ['KAFKA_TLS_CERT and KAFKA_TLS_KEY belong together: set both or none.']
      : []),
    ...(Boolean(username) !== Boolean(password)
      ? ['KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD belong together: set both or none.']
      : []),
    ...(username && mechanism === 'plain' && !config.KAFKA_TLS
      ? [
          'KAFKA_SASL_MECHANISM is plain, which sends the password as it is: set KAFKA_TLS to true, or take scram-sha-512.',
        ]
      : []),
    ...(cert && key && !areOne(cert, key) ? ['KAFKA_TLS_KEY is not the key of KAFKA_TLS_CERT.'] : []),
  ]
  if (problems.length > 0) {
    const lines = problems.map((problem) => `  ${problem}`).join('\n')
    throw new Failure('CONFIG_INVALID', `The configuration is invalid.\n${lines}`, { details: { problems } })
  }
  return {
    brokers: parseBrokers(config.KAFKA_BROKERS),
    ...(config.KAFKA_TLS && { tls: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } }),
    ...(username && password && { sasl: { mechanism, username, password } }),
  }
}

/** Told at the start: a broker would only cut the connection. */
function areOne(cert: string, key: string): boolean {
  return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))
}
