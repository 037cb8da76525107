import { fileURLToPath } from 'node:url'
import type { Logger } from '@likewise/service'
import { type JarSet, type JavaTools, findJars } from './jars.ts'
import { missingTool } from './missing-tool.ts'

/** Names the cache's directory; kafka/pom.xml says the same. */
const kafkaVersion = '4.3.1'

const kafka: JarSet = {
  name: `Kafka ${kafkaVersion}`,
  directory: `kafka-${kafkaVersion}`,
  pom: fileURLToPath(new URL('../kafka/pom.xml', import.meta.url)),
  missing: (sentence, options) =>
    missingTool(
      sentence,
      { install: 'install Java 17 or newer and Maven, which fetches Kafka once' },
      options,
    ),
}

/** Java and the jars of Kafka, fetched by Maven if this user's cache has none; MISSING_TOOL says what is not there. */
export function findKafkaTools(options: { env: NodeJS.ProcessEnv; log: Logger }): Promise<JavaTools> {
  return findJars(kafka, options)
}
