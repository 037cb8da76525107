import type { TopicHealth } from '@likewise/kafka'
import { describe, expect, it } from '@jest/globals'
import { checkEvents, checkTopic } from './doctor-broker.ts'

const dayMs = 86_400_000
const settings = {
  'cleanup.policy': 'delete',
  'message.timestamp.type': 'LogAppendTime',
  'min.insync.replicas': '2',
  'retention.bytes': '-1',
  'retention.ms': String(14 * dayMs),
  'unclean.leader.election.enable': 'false',
}
const health = (change: Partial<TopicHealth> = {}, more: Record<string, string> = {}): TopicHealth => ({
  ...{ topic: 't', partitions: 12, leaderless: [], underReplicated: [], replicationFactor: 3 },
  ...change,
  settings: { ...settings, ...more },
})
const about = { horizonDays: 30, outboxDays: 7 }
const odd = (one: TopicHealth): string[] =>
  [...checkTopic(one, 3), ...(one.partitions > 0 ? checkEvents(one, about) : [])]
    .filter(({ level }) => level !== 'ok')
    .map(({ level, name, says }) => `${level} ${name}: ${says}`)

describe('a topic', () => {
  it('is well with three copies, two of which acknowledge, and fourteen days', () => {
    expect(odd(health())).toEqual([])
  })

  it.each<[string, TopicHealth, string]>([
    ['that is not there', health({ partitions: 0 }), 'fail topic.t: it is not there'],
    ['with another number of partitions', health({ partitions: 10 }), 'fail topic.t: it has 10 partitions, no multiple of 12'],
    ['without a leader', health({ leaderless: [3, 4] }), 'fail topic.t.leaders: nobody leads partition 3, 4'],
    ['with copies behind', health({ underReplicated: [5] }), 'warn topic.t.leaders: copies of partition 5 are behind'],
    ['with one copy', health({ replicationFactor: 1 }), 'warn topic.t.replication: one copy of each record'],
    ['that one copy acknowledges', health({}, { 'min.insync.replicas': '1' }), 'warn topic.t.replication: 3 copies, and one is enough to acknowledge'],
    ['whose leader may be behind', health({}, { 'unclean.leader.election.enable': 'true' }), 'fail topic.t.unclean_election'],
    ['that is compacted', health({}, { 'cleanup.policy': 'compact' }), 'fail topic.t.retention: Topic t has cleanup.policy=compact'],
    ['that keeps for ever', health({}, { 'retention.ms': '-1' }), 'fail topic.t.retention: Topic t keeps records for ever'],
    ['that keeps a day', health({}, { 'retention.ms': String(dayMs) }), 'warn topic.t.retention: it keeps records for 1.0 days'],
    ['that keeps a gigabyte', health({}, { 'retention.bytes': '1000000000' }), 'warn topic.t.retention: retention.bytes=1000000000'],
    ["with the sender's time", health({}, { 'message.timestamp.type': 'CreateTime' }), "warn topic.t.time: records have the sender's time"],
  ])('%s is told', (_, one, said) => {
    const [first, ...others] = odd(one)
    expect(first).toContain(said)
    expect(others).toEqual([])
  }) // prettier-ignore
})
