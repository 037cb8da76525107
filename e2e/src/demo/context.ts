import { type Database, connectDatabase } from '@likewise/database'
import type { KafkaOptions } from '@likewise/kafka'
import { buildLogger, parseBrokers } from '@likewise/service'
import type { Narrator } from './story.ts'

/** What the stories need of a running Likewise. */
export interface DemoContext {
  /** like-api instances; two for the story of scaling out. */
  readonly likeApis: readonly [string, ...string[]]
  readonly metricsApi: string
  readonly catalog: Database
  readonly metrics: Database
  readonly kafka: KafkaOptions
  /** Stops Kafka; what it returns brings it back, and may be called twice. Or why that is not ours to do. */
  readonly stopKafka: StopKafka | { readonly whyNot: string }
  /** The environment of the programs in examples/before. */
  readonly programEnv: Readonly<Record<string, string | undefined>>
  readonly narrate: Narrator
  /** Aborted when nobody wants to see the end. */
  readonly signal: AbortSignal
  /** A product that nobody has liked yet. */
  readonly newProductId: () => number
}

export type StopKafka = () => Promise<() => Promise<void>>

export interface ContextOptions extends Pick<
  DemoContext,
  'likeApis' | 'metricsApi' | 'stopKafka' | 'narrate' | 'signal'
> {
  readonly catalogDatabaseUrl: string
  readonly metricsDatabaseUrl: string
  readonly kafkaBrokers: string
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Connects to what the URLs name. `close` ends the connections. */
export function openContext(options: ContextOptions): { context: DemoContext; close: () => Promise<void> } {
  const { catalogDatabaseUrl, metricsDatabaseUrl, kafkaBrokers, env, ...rest } = options
  const catalog = connect(catalogDatabaseUrl)
  const metrics = connect(metricsDatabaseUrl)
  // Milliseconds since 1970 are ids that no earlier run has used, and 13 digits that a person can tell apart.
  let lastProductId = Date.now()
  const context: DemoContext = {
    ...rest,
    catalog,
    metrics,
    kafka: {
      brokers: parseBrokers(kafkaBrokers),
      clientId: 'likewise-demo',
      requestTimeoutMs: 3_000,
      log: buildLogger({ service: 'demo', level: 'silent' }),
    },
    programEnv: { ...env, CATALOG_DATABASE_URL: catalogDatabaseUrl, KAFKA_BROKERS: kafkaBrokers },
    newProductId: () => ++lastProductId,
  }
  const close = async () => {
    await Promise.all([catalog.stop(), metrics.stop()])
  }
  return { context, close }
}

const connect = (url: string): Database =>
  connectDatabase({
    url,
    poolSizeMax: 3,
    connectTimeoutMs: 2_000,
    statementTimeoutMs: 10_000,
    applicationName: 'likewise-demo',
  })
