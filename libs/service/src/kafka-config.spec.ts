import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from '@jest/globals'
import { readConfig } from './config.ts'
import { KafkaConfig, readKafka } from './kafka-config.ts'

// Made by deploy/tls/make-certificates.sh for this file alone.
const cert = `-----BEGIN CERTIFICATE-----
MIIBnjCCAUSgAwIBAgIUJQO9L0urXHOguuECXCP8UEI9354wCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLTGlrZXdpc2UgQ0EwHhcNMjYxMTI4MDA1OTM2WhcNMjkwMzAy
MDA1OTM2WjARMQ8wDQYDVQQDDAZjbGllbnQwWTATBgcqhkjOPQIBBggqhkjOPQMB
BwNCAATBikTiZa9wGtMC8hWyTAAUGtpSJgRXXcgTCpzLsBQBZYlFJ+oASEEK7nMd
Mq6uPdXAylVodIhCKooPXtFPI642o3UwczAMBgNVHRMBAf8EAjAAMA4GA1UdDwEB
/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcDAjAdBgNVHQ4EFgQUyoyxQR6rjZwG
qtZtMyctowZ7eggwHwYDVR0jBBgwFoAU8+fJeqqa01o80S6KOgjf5GTkHRkwCgYI
KoZIzj0EAwIDSAAwRQIhAI6WwveXMfnlRrnkHnA17Q9qDrOTZgb7WljZ/DK7ghmG
AiBbf7X5fnbXwL7x76VDxshMgAltAamI2ZLryUPBDKY+RA==
-----END CERTIFICATE-----`
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgisTBtoaUaAwMHs/Y
XxdjHM32WtxlprX3b+JMMJRLi6mhRANCAATBikTiZa9wGtMC8hWyTAAUGtpSJgRX
XcgTCpzLsBQBZYlFJ+oASEEK7nMdMq6uPdXAylVodIhCKooPXtFPI642
-----END PRIVATE KEY-----`
const otherKey = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

const read = (env: NodeJS.ProcessEnv) =>
  readKafka(readConfig(KafkaConfig, { KAFKA_BROKERS: 'a:9092,b:9092', ...env }))

describe('settings of Kafka', () => {
  it('ask nobody for anything unless told', () => {
    expect(read({})).toEqual({ brokers: ['a:9092', 'b:9092'] })
  })

  it('give TLS, certificates and the password', () => {
    const tls = { KAFKA_TLS: 'true', KAFKA_TLS_CA: cert, KAFKA_TLS_CERT: cert, KAFKA_TLS_KEY: key }
    expect(read({ ...tls, KAFKA_SASL_USERNAME: 'me', KAFKA_SASL_PASSWORD: 'secret' })).toEqual({
      brokers: ['a:9092', 'b:9092'],
      tls: { ca: cert, cert, key },
      sasl: { mechanism: 'scram-sha-512', username: 'me', password: 'secret' },
    })
    expect(read({ KAFKA_TLS: 'true' })).toMatchObject({ tls: {} })
  })

  it.each([
    [{ KAFKA_TLS_CA: cert }, /KAFKA_TLS is not true, so certificates would not be looked at/],
    [{ KAFKA_TLS: 'true', KAFKA_TLS_CERT: cert }, /KAFKA_TLS_CERT and KAFKA_TLS_KEY belong together/],
    [{ KAFKA_TLS: 'true', KAFKA_TLS_CERT: cert, KAFKA_TLS_KEY: otherKey }, /KAFKA_TLS_KEY is not the key of/],
    [{ KAFKA_SASL_USERNAME: 'me' }, /KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD belong together/],
    [
      { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'me', KAFKA_SASL_PASSWORD: 'x' },
      /KAFKA_SASL_MECHANISM is plain, which sends the password as it is/,
    ],
    [
      { KAFKA_TLS: 'true', KAFKA_TLS_CA: 'c4n4ry' },
      /KAFKA_TLS_CA .* has a wrong value \(not shown\): set it to certificates in PEM/,
    ],
    [
      { KAFKA_TLS: 'true', KAFKA_TLS_KEY: 'c4n4ry' },
      /KAFKA_TLS_KEY .* has a wrong value \(not shown\): set it to a private key in PEM/,
    ],
  ])('that only look safe are refused: %#', (env, sentence) => {
    expect(() => read(env)).toThrow(sentence)
    expect(() => read(env)).not.toThrow(/c4n4ry/)
  })
})
