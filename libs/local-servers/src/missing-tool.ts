import { Failure } from '@likewise/service'

/** The one sentence for everything that is missing, always with the three ways to mend it. */
export function missingTool(
  missing: string,
  ways: { install: string },
  options: { cause?: unknown } = {},
): Failure {
  return new Failure(
    'MISSING_TOOL',
    `${missing}${missing.endsWith('\n') ? '' : ' '}To have PostgreSQL and Kafka, either name running ones in CATALOG_DATABASE_URL, METRICS_DATABASE_URL and KAFKA_BROKERS, or start Docker, or ${ways.install}.`,
    options,
  )
}
