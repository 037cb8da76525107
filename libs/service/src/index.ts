export { connectAuth, trustedAuth } from './auth.ts'
export type { Auth } from './auth.ts'
export { AuthConfig } from './auth-config.ts'
export { backoffMs } from './backoff.ts'
export {
  brokers,
  describeConfig,
  durationMs,
  loadDotenv,
  loadEnvFile,
  LogLevel,
  parseBrokers,
  port,
  postgresUrl,
  readConfig,
  sourceOf,
} from './config.ts'
export type { Setting } from './config.ts'
export { isDistrust } from './tls-fault.ts'
export { KafkaConfig, type KafkaAccess, readKafka } from './kafka-config.ts'
export { openEventStream } from './event-stream.ts'
export type { EventStream, StreamEvent } from './event-stream.ts'
export { Failure, failures } from './failure.ts'
export type { FailureCode } from './failure.ts'
export { defaultGuard, GuardConfig, readGuard } from './guard-config.ts'
export type { Guard } from './guard-config.ts'
export { buildHttp, listen } from './http.ts'
export type { Endpoint, Http, HttpLimits } from './http.ts'
export { toProblem } from './http-problem.ts'
export type { FieldError, Problem } from './http-problem.ts'
export { revalidated } from './http-cache.ts'
export type { ApiDocs } from './http-docs.ts'
export { checked } from './http-probes.ts'
export type { Ready } from './http-probes.ts'
export { userOf } from './identity.ts'
export type { Identity } from './identity.ts'
export { buildLimit } from './limit.ts'
export { buildLogger, maskPasswords } from './logger.ts'
export type { Logger } from './logger.ts'
export { pause } from './pause.ts'
export { repeat } from './repeat.ts'
export { baseSchema, runService } from './service.ts'
export type { Service, ServiceSpec } from './service.ts'
export { buildTelemetry } from './telemetry.ts'
export type { Telemetry } from './telemetry.ts'
export { version } from './version.ts'
export { within } from './within.ts'
