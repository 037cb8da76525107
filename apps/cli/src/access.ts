import { topics } from '@likewise/events'
import { type KafkaOptions, ensureAccess, serviceRights } from '@likewise/kafka'
import type { Static } from 'typebox'
import type { Say } from './catalog.ts'
import type { AccessConfig } from './config.ts'

/** Gives each service its rights in Kafka, and its password where one is told; run again, it changes nothing else. */
export async function giveAccess(
  kafka: KafkaOptions,
  config: Static<typeof AccessConfig>,
  say: Say,
): Promise<void> {
  const { catalogEvents: events, deadLetters } = topics
  const rights = serviceRights({ events, deadLetters, group: config.CONSUMER_GROUP })
  const passwords: Record<keyof typeof rights, string | undefined> = {
    'outbox-relay': config.KAFKA_RELAY_PASSWORD,
    'metrics-consumer': config.KAFKA_CONSUMER_PASSWORD,
    topics: config.KAFKA_TOPICS_PASSWORD,
    operator: config.KAFKA_OPERATOR_PASSWORD,
    scaler: config.KAFKA_SCALER_PASSWORD,
  }
  const plans = Object.entries(rights).map(([user, wanted]) => {
    const password = passwords[user as keyof typeof rights]
    return { user, rights: wanted, ...(password !== undefined && { password }) }
  })
  await ensureAccess(kafka, plans)
  for (const { user, rights: given, password } of plans) {
    const may = given.map(({ on, name, may }) => `${may.join(', ')} on ${on} ${name}`).join('; ')
    say(`${user}${password === undefined ? '' : ' (with its password)'}: ${may}`)
  }
}
