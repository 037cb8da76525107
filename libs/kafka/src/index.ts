export { quickenKafkajs } from './quicken.ts'
export { ignoreTimerWarning } from './timer-warning.ts'
export { ensureAccess } from './access.ts'
export { type AccessPlan, type Right, serviceRights } from './access-plan.ts'
export type { KafkaOptions } from './client.ts'
export { kafkaFailure } from './failure.ts'
export { buildLogPositions } from './log-positions.ts'
export type { OutgoingHeader, OutgoingRecord, Position } from './connection.ts'
export { type KafkaClient, type Publisher, type PublisherOptions, buildPublisher } from './publisher.ts'
export { readGroupPositions } from './log-positions.ts'
export {
  type IncomingBatch,
  type IncomingRecord,
  type Subscriber,
  type SubscriberOptions,
  subscribe,
} from './subscriber.ts'
export {
  type TopicPlan,
  addPartitions,
  ensureTopics,
  readOffsetsAt,
  readTopicEnds,
  readTopicRetention,
  removeGroups,
  removeTopics,
  retentionOf,
} from './topics.ts'
export { type LogReaderOptions, readLog } from './log-reader.ts'
export { retentionWarning } from './retention-warning.ts'
export { type ClusterHealth, type TopicHealth, readClusterHealth, readGroupHealth } from './health.ts'
