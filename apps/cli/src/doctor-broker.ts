import { catalogEventsPartitions } from '@likewise/events'
import {
  type KafkaOptions,
  type TopicHealth,
  readClusterHealth,
  retentionOf,
  retentionWarning,
} from '@likewise/kafka'
import { type Check, fail, looked, ok, warn } from './doctor.ts'

const dayMs = 86_400_000

interface About {
  readonly topic: string
  readonly deadLetters: string
  /** CONSUMER_DEDUP_HORIZON_DAYS. */
  readonly horizonDays: number
  /** RELAY_RETENTION_DAYS. */
  readonly outboxDays: number
}

/** Kafka, and the two topics. */
export async function checkBroker(kafka: KafkaOptions, about: About): Promise<Check[]> {
  const { topic, deadLetters, horizonDays, outboxDays } = about
  return looked('kafka.connection', async () => {
    const { brokers, topics } = await readClusterHealth(kafka, [topic, deadLetters])
    const [events, letters] = topics
    return [
      ok('kafka.connection', `${String(brokers)} ${brokers === 1 ? 'broker answers' : 'brokers answer'}`),
      ...(events ? checkTopic(events, brokers) : []),
      ...(events && events.partitions > 0 ? checkEvents(events, { horizonDays, outboxDays }) : []),
      ...(letters ? checkTopic(letters, brokers) : []),
      ...(events && letters && letters.partitions > 0 ? [checkRoom(events, letters)] : []),
    ]
  })
}

/** What is true of any topic that must not lose anything. */
export function checkTopic(health: TopicHealth, brokers: number): Check[] {
  const { topic, partitions, leaderless, underReplicated, replicationFactor, settings } = health
  if (partitions === 0) return [fail(`topic.${topic}`, 'it is not there', 'likewise topics')]
  const name = (what: string): string => `topic.${topic}.${what}`
  const few = Number(settings['min.insync.replicas'] ?? 1)
  return [
    partitions % catalogEventsPartitions === 0
      ? ok(`topic.${topic}`, `${String(partitions)} partitions`)
      : fail(`topic.${topic}`, `it has ${String(partitions)} partitions, no multiple of ${String(catalogEventsPartitions)}: shards of the outbox share them`, 'Drain it, and give it more: likewise topics --partitions n.'), // prettier-ignore
    leaderless.length > 0
      ? fail(name('leaders'), `nobody leads partition ${leaderless.join(', ')}`, 'Start the brokers that have its copies.') // prettier-ignore
      : underReplicated.length > 0
        ? warn(name('leaders'), `copies of partition ${underReplicated.join(', ')} are behind`, 'Start the brokers that have them.') // prettier-ignore
        : ok(name('leaders'), 'every partition is led, and all copies are there'),
    replicationFactor < 2
      ? warn(name('replication'), `one copy of each record: what is acknowledged is lost with its broker's disk, and its newest with its power${brokers === 1 ? '' : ` (there are ${String(brokers)} brokers)`}`, 'Three brokers, replication factor 3 and min.insync.replicas=2; topics that are there are changed by kafka-reassign-partitions.') // prettier-ignore
      : few < 2
        ? warn(name('replication'), `${String(replicationFactor)} copies, and one is enough to acknowledge (min.insync.replicas=${String(few)})`, 'Set min.insync.replicas=2.') // prettier-ignore
        : ok(name('replication'), `${String(replicationFactor)} copies, ${String(few)} acknowledge`),
    settings['unclean.leader.election.enable'] === 'true'
      ? fail(name('unclean_election'), 'a copy that is behind may become the leader: records that were acknowledged go', 'Set unclean.leader.election.enable=false.') // prettier-ignore
      : ok(name('unclean_election'), 'only a whole copy becomes the leader'),
  ]
}

/** What is true of events only. */
export function checkEvents(
  { topic, settings }: TopicHealth,
  { horizonDays, outboxDays }: { horizonDays: number; outboxDays: number },
): Check[] {
  const name = (what: string): string => `topic.${topic}.${what}`
  const retention = retentionOf(settings)
  const { retentionMs } = retention
  const warning = retentionWarning(topic, retention, horizonDays)
  const [, why = '', mend = ''] = /^(.*?)\. (To mend it .*)$/.exec(warning ?? '') ?? []
  return [
    warning !== null
      ? fail(name('retention'), why, mend)
      : retentionMs < outboxDays * dayMs
        ? warn(name('retention'), `it keeps records for ${(retentionMs / dayMs).toFixed(1)} days: a consumer that stands still longer misses events`, `Set retention.ms to at least ${String(outboxDays * dayMs)}; until then likewise outbox republish brings them again.`) // prettier-ignore
        : Number(settings['retention.bytes'] ?? -1) > 0
          ? warn(name('retention'), `retention.bytes=${settings['retention.bytes'] ?? ''} removes records whatever their age`, 'Set retention.bytes=-1, or see that it holds as many days as the consumer may stand still.') // prettier-ignore
          : ok(name('retention'), `records stay for ${(retentionMs / dayMs).toFixed(1)} days`),
    settings['message.timestamp.type'] === 'LogAppendTime'
      ? ok(name('time'), "records have the broker's time")
      : warn(name('time'), "records have the sender's time: with a wrong clock they are refused, or expire unread", 'Set message.timestamp.type=LogAppendTime (docs/decisions/0005-broker-time.md).'), // prettier-ignore
  ]
}

const headerRoom = 65_536

function checkRoom(events: TopicHealth, letters: TopicHealth): Check {
  const name = `topic.${letters.topic}.room`
  const [own, theirs] = [letters, events].map(({ settings }) => Number(settings['max.message.bytes'] ?? 0))
  if ((own ?? 0) >= (theirs ?? 0) + headerRoom) return ok(name, 'every dead letter fits with its headers')
  return warn(name, 'the largest dead letters are copied without their value', `Set max.message.bytes of ${letters.topic} to ${String((theirs ?? 0) + headerRoom)}.`) // prettier-ignore
}
