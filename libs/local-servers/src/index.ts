export type { BrokerSecurity } from './kafka-security.ts'
export { kafkaAnswers, postgresAnswers } from './answers.ts'
export { dockerAnswers } from './container-engine.ts'
export { ConnectionsConfig } from './connections-config.ts'
export { startContainers } from './containers.ts'
export type { Containers } from './containers.ts'
export { type Debezium, debeziumMissing, startDebezium } from './debezium.ts'
export { startEmbeddedKafka } from './embedded-kafka.ts'
export type { EmbeddedKafka } from './embedded-kafka.ts'
export { startEmbeddedPostgres } from './embedded-postgres.ts'
export type { EmbeddedPostgres } from './embedded-postgres.ts'
export { removeHome } from './home.ts'
export { endLeftovers } from './leftovers.ts'
export type { EmbeddedServer, LocalServer } from './local-server.ts'
export { freePort, portIsFree, rememberedPort } from './ports.ts'
export { isAlive } from './process-records.ts'
export type { ProcessIdentity, ProcessRecord } from './process-records.ts'
export { startProcess } from './processes.ts'
export type { Exit, ProcessOptions, RunningProcess } from './processes.ts'
export { isHeld, runningServer, stopServerForAWhile } from './server-hold.ts'
export { startServers } from './servers.ts'
export type { Servers, ServersKind } from './servers.ts'
export { until } from './until.ts'
export {
  type App,
  type RunningService,
  type ServicePlan,
  nodeFlags,
  startService,
  stopService,
  workspaceRoot,
} from './services.ts'
export { isClaimed } from './home-claim.ts'
export { type Stack, connectionsOf, prepareTopics, startStack, writeConnections } from './stack.ts'
export type { StackPlan } from './stack-plan.ts'
export { StartConfig, start } from './start.ts'
