import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { topics } from '@likewise/events'
import { type KafkaOptions, ensureAccess, serviceRights } from '@likewise/kafka'
import {
  type BrokerSecurity,
  type EmbeddedKafka,
  removeHome,
  startEmbeddedKafka,
} from '@likewise/local-servers'
import { buildLogger } from '@likewise/service'

export const group = 'metrics-consumer'
export const rights = serviceRights({ events: topics.catalogEvents, deadLetters: topics.deadLetters, group })
export type User = keyof typeof rights
export const users = Object.keys(rights) as User[]
export const passwordOf = (user: string): string => `password-of-${user}`

const log = buildLogger({ service: 'e2e', level: 'silent' })

export interface SecureBroker {
  server: EmbeddedKafka
  /** By the door of this machine's own, without proof: whoever gives out rights. */
  admin: KafkaOptions
  remove(): Promise<void>
}

/** A broker at which each service has its rights. With SASL each has a password, else a certificate is its proof. */
export async function startSecureBroker(security: BrokerSecurity): Promise<SecureBroker> {
  const home = await mkdtemp(join(tmpdir(), 'likewise-secure-'))
  const server = await startEmbeddedKafka({ home, log, security })
  const admin = optionsOf({ brokers: [server.adminBrokers] })
  await ensureAccess(
    admin,
    users.map((user) => ({
      user,
      ...(security.sasl && { password: passwordOf(user) }),
      rights: rights[user],
    })),
  )
  return {
    server,
    admin,
    async remove() {
      await server.kill()
      await removeHome(home)
    },
  }
}

export const optionsOf = (access: Pick<KafkaOptions, 'brokers' | 'tls' | 'sasl'>): KafkaOptions => ({
  ...access,
  clientId: 'e2e',
  requestTimeoutMs: 5_000,
  log,
})
