import type { Facts } from './facts.ts'
import type { Resource } from './manifest.ts'

type Data = Readonly<Record<string, string>>

/** What the services are told about Kafka. */
const kafkaOf = (resources: readonly Resource[]): Data =>
  resources.find(({ kind, data }) => kind === 'ConfigMap' && data?.['KAFKA_BROKERS'])?.data ?? {}

/** What KEDA is told must be so of the consumers. */
export function scaledObjectFaults(resources: readonly Resource[], facts: Facts): string[] {
  const { topic, partitions, settings } = facts
  return resources
    .filter(({ kind }) => kind === 'ScaledObject')
    .flatMap(({ metadata, spec = {} }) => {
      const at = `ScaledObject ${metadata.name}`
      const trigger = spec.triggers?.find(({ type }) => type === 'kafka')?.metadata ?? {}
      const group = settings.get('metrics-consumer')?.get('CONSUMER_GROUP')
      const brokers = kafkaOf(resources)['KAFKA_BROKERS']
      const patienceS =
        spec.advanced?.horizontalPodAutoscalerConfig?.behavior?.scaleDown?.stabilizationWindowSeconds ?? 0
      return [
        ...(spec.maxReplicaCount === partitions
          ? []
          : [`${at}: maxReplicaCount is not ${String(partitions)}, the partitions of ${topic}.`]),
        ...((spec.minReplicaCount ?? 0) >= 1 ? [] : [`${at}: minReplicaCount is below 1.`]),
        ...(patienceS >= 300 ? [] : [`${at}: it scales down after less than 5 minutes.`]),
        ...(trigger['topic'] === topic ? [] : [`${at}: its topic is not ${topic}.`]),
        ...(trigger['consumerGroup'] === group ? [] : [`${at}: its group is not ${String(group)}.`]),
        ...(trigger['offsetResetPolicy'] === 'earliest'
          ? []
          : [`${at}: a group without an offset has a lag of 0.`]),
        ...(brokers === undefined || trigger['bootstrapServers'] === brokers
          ? []
          : [`${at}: it asks other brokers than the consumers.`]),
        ...proofFaults(
          { at, trigger, reference: spec.triggers?.[0]?.authenticationRef?.name },
          resources,
          facts,
        ),
      ]
    })
}

/** KEDA's word for each mechanism. */
const saslOf: Data = {
  'scram-sha-512': 'scram_sha512',
  'scram-sha-256': 'scram_sha256',
  plain: 'plaintext',
}

interface Asking {
  at: string
  trigger: Data
  /** The TriggerAuthentication that the trigger names. */
  reference: string | undefined
}

/** A broker that wants TLS and a password of the consumers wants them of KEDA, too, as somebody else. */
function proofFaults(
  { at, trigger, reference }: Asking,
  resources: readonly Resource[],
  { settings }: Facts,
): string[] {
  const kafka = kafkaOf(resources)
  const isSet = (name: string) => (kafka[name] ?? kafka[`${name}_FILE`]) !== undefined
  const tls = kafka['KAFKA_TLS'] === 'true' ? 'enable' : 'disable'
  const mechanism =
    kafka['KAFKA_SASL_MECHANISM'] ?? settings.get('metrics-consumer')?.get('KAFKA_SASL_MECHANISM') ?? ''
  const sasl = isSet('KAFKA_SASL_USERNAME') ? saslOf[mechanism] : 'none'
  const wanted = [
    ...(sasl === 'none' ? [] : ['username', 'password']),
    ...(isSet('KAFKA_TLS_CA') ? ['ca'] : []),
  ]
  const proof = resources.find(
    ({ kind, metadata }) => kind === 'TriggerAuthentication' && metadata.name === reference,
  )
  const given = proof?.spec?.secretTargetRef ?? []
  const lacking = wanted.filter((one) => !given.some(({ parameter }) => parameter === one))
  const others = new Set(resources.flatMap(secretsOf))
  return [
    ...((trigger['tls'] ?? 'disable') === tls
      ? []
      : [`${at}: its tls is not ${tls}, as it is for the consumers.`]),
    ...((trigger['sasl'] ?? 'none') === sasl
      ? []
      : [`${at}: its sasl is not ${String(sasl)}, as it is for the consumers.`]),
    ...(lacking.length === 0 ? [] : [`${at}: no TriggerAuthentication gives it ${lacking.join(', ')}.`]),
    ...given
      .filter(({ name }) => others.has(name))
      .map(
        ({ parameter, name }) =>
          `${at}: its ${parameter} is of ${name}, the secret of somebody who may read.`,
      ),
  ]
}

const secretsOf = ({ spec }: Resource): string[] =>
  (spec?.template?.spec.volumes ?? []).flatMap(({ secret }) => secret?.secretName ?? [])
