import type { Facts } from './facts.ts'
import {
  type Container,
  type Labels,
  type PodSpec,
  type Resource,
  environmentOf,
  imageNameOf,
  isDefaultDeny,
  matches,
  selects,
} from './manifest.ts'

/** A Deployment or a Job, with what the rules ask of it. */
export interface Workload {
  name: string
  kind: string
  resource: Resource
  labels: Labels
  pod: PodSpec
  /** Sentences begin with it. */
  at: string
}

type Rule = (workload: Workload, all: readonly Resource[], facts: Facts) => string[]

/** A stop's own limit, a scheduler's second, and room for a busy node. */
const spareGraceS = 5

const containersOf = ({ pod }: Workload): Container[] => [...(pod.initContainers ?? []), ...pod.containers]

const serviceOf = (container: Container): string => {
  const app = imageNameOf(container).replace('likewise/', '')
  return app === 'cli' ? 'likewise (CLI)' : app
}

const settingsAreKnown: Rule = (workload, all, { settings }) =>
  containersOf(workload).flatMap((container) => {
    const service = serviceOf(container)
    const known = settings.get(service)
    if (known === undefined) return [`${workload.at}: ${container.image} is none of our images.`]
    const missing = (container.envFrom ?? []).filter(
      ({ configMapRef }) =>
        !all.some(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === configMapRef?.name),
    )
    return [
      ...missing.map(
        ({ configMapRef }) => `${workload.at}: there is no ConfigMap ${String(configMapRef?.name)}.`,
      ),
      ...Object.keys(environmentOf(container, all))
        .filter((name) => name !== 'NODE_ENV' && !known.has(name) && !known.has(name.replace(/_FILE$/, '')))
        .map((name) => `${workload.at}: ${name} is no setting of ${service}.`),
    ]
  })

const isForProduction: Rule = (workload, all) =>
  containersOf(workload)
    .filter((container) => environmentOf(container, all)['NODE_ENV'] !== 'production')
    .map(({ name }) => `${workload.at}: NODE_ENV of ${name} is not production.`)

const secretsAreFiles: Rule = (workload, all) =>
  containersOf(workload).flatMap((container) =>
    Object.entries(environmentOf(container, all)).flatMap(([name, value]) => {
      if (/DATABASE_URL$|PASSWORD$|SECRET$/.test(name))
        return [`${workload.at}: ${name} is a secret: mount it, and set ${name}_FILE.`]
      const isMounted = (container.volumeMounts ?? []).some(({ mountPath }) =>
        value?.startsWith(`${mountPath}/`),
      )
      return name.endsWith('_FILE') && !isMounted
        ? [`${workload.at}: ${name} names a file that is not mounted.`]
        : []
    }),
  )

const volumesAreThere: Rule = (workload) => {
  const there = new Set((workload.pod.volumes ?? []).map(({ name }) => name))
  const mounted = containersOf(workload).flatMap(({ volumeMounts = [] }) => volumeMounts)
  return [
    ...mounted
      .filter(({ name }) => !there.has(name))
      .map(({ name }) => `${workload.at}: there is no volume ${name}.`),
    ...[...there]
      .filter((volume) => !mounted.some(({ name }) => name === volume))
      .map((volume) => `${workload.at}: nothing mounts the volume ${volume}.`),
  ]
}

/** A Service's name becomes variables of all pods beside it, and LIKE_API_PORT would no longer be a port. */
const noServiceLinks: Rule = ({ pod, at }) =>
  pod.enableServiceLinks === false ? [] : [`${at}: enableServiceLinks is not false.`]

const podIsLocked: Rule = ({ pod, at }, _all, { user }) => {
  const context = pod.securityContext ?? {}
  return [
    ...(context.runAsNonRoot === true ? [] : [`${at}: runAsNonRoot is not true.`]),
    ...(context.runAsUser === user ? [] : [`${at}: runAsUser is not ${String(user)}, the image's own user.`]),
    ...(context.seccompProfile?.type === 'RuntimeDefault'
      ? []
      : [`${at}: seccompProfile is not RuntimeDefault.`]),
    ...(pod.automountServiceAccountToken === false ? [] : [`${at}: it has a token for the Kubernetes API.`]),
  ]
}

const containersAreLocked: Rule = (workload) =>
  containersOf(workload).flatMap(({ name, securityContext = {} }) => {
    const { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities = {} } = securityContext
    return [
      ...(allowPrivilegeEscalation === false ? [] : [`${workload.at}: ${name} may gain privileges.`]),
      ...(readOnlyRootFilesystem === true
        ? []
        : [`${workload.at}: ${name} may write to its root file system.`]),
      ...(capabilities.drop?.includes('ALL') && !capabilities.add
        ? []
        : [`${workload.at}: ${name} has capabilities.`]),
    ]
  })

const resourcesAreSaid: Rule = (workload) =>
  containersOf(workload).flatMap(({ name, resources = {} }) => {
    const { requests = {}, limits = {} } = resources
    return [
      ...(requests['cpu'] && requests['memory']
        ? []
        : [`${workload.at}: ${name} requests no CPU or memory.`]),
      ...(limits['memory'] ? [] : [`${workload.at}: ${name} has no limit of memory.`]),
      ...(limits['cpu'] ? [`${workload.at}: ${name} has a limit of CPU, which only adds to latency.`] : []),
    ]
  })

const mayTalk: Rule = (workload, all) => {
  const policies = all.filter(
    (resource) =>
      resource.kind === 'NetworkPolicy' &&
      !isDefaultDeny(resource) &&
      resource.spec?.podSelector?.matchLabels !== undefined &&
      selects(resource.spec.podSelector, workload.labels),
  )
  if (policies.length === 0) return [`${workload.at}: no NetworkPolicy is about it.`]
  const open = new Set(
    policies
      .flatMap(({ spec }) => spec?.egress ?? [])
      .flatMap(({ ports = [] }) => ports.map(({ port }) => port)),
  )
  const names = containersOf(workload).flatMap((container) => Object.keys(environmentOf(container, all)))
  return [
    ...(names.some((name) => name.includes('DATABASE_URL')) && !open.has(5432)
      ? [`${workload.at}: its NetworkPolicy keeps it from PostgreSQL.`]
      : []),
    ...(names.includes('KAFKA_BROKERS') && !open.has(9092)
      ? [`${workload.at}: its NetworkPolicy keeps it from Kafka.`]
      : []),
  ]
}

const portsAreTheImages: Rule = ({ pod, name, at }, _all, { ports }) =>
  pod.containers.flatMap(({ ports: opened = [] }) =>
    opened.some(
      ({ name: portName, containerPort }) => portName === 'http' && containerPort === ports.get(name),
    )
      ? []
      : [`${at}: port http is not ${String(ports.get(name))}, where the image listens.`],
  )

const probesAreAnswered: Rule = ({ pod, at }, _all, { probes }) =>
  pod.containers.flatMap((container) =>
    (['startupProbe', 'livenessProbe', 'readinessProbe'] as const).flatMap((kind) => {
      const { path, port } = container[kind]?.httpGet ?? {}
      if (path === undefined) return [`${at}: it has no ${kind}.`]
      const wanted = kind === 'readinessProbe' ? '/readyz' : '/livez'
      return [
        ...(probes.includes(path) ? [] : [`${at}: ${kind} asks ${path}, which is no route.`]),
        ...(path === wanted
          ? []
          : [`${at}: ${kind} asks ${path} instead of ${wanted}: an outage would restart what waits it out.`]),
        ...(container.ports?.some(({ name, containerPort }) => port === name || port === containerPort)
          ? []
          : [`${at}: ${kind} asks a port that is not open.`]),
      ]
    }),
  )

const stopsInTime: Rule = ({ pod, name, at }, all, { settings }) =>
  pod.containers.flatMap((container) => {
    const limitMs =
      environmentOf(container, all)['SHUTDOWN_TIMEOUT_MS'] ?? settings.get(name)?.get('SHUTDOWN_TIMEOUT_MS')
    const wantedS =
      (container.lifecycle?.preStop?.sleep?.seconds ?? 0) + Number(limitMs) / 1_000 + spareGraceS
    const given = pod.terminationGracePeriodSeconds ?? 30
    return given >= wantedS
      ? []
      : [`${at}: it is killed after ${String(given)} s, and its stop may take ${String(wantedS)} s.`]
  })

/** Whatever has a Service is still sent requests for a while after it was told to stop. */
const leavesItsService: Rule = ({ pod, labels, at }, all) =>
  all.some(({ kind, spec }) => kind === 'Service' && matches(spec?.selector ?? {}, labels)) &&
  pod.containers.some(({ lifecycle }) => (lifecycle?.preStop?.sleep?.seconds ?? 0) < 1)
    ? [`${at}: it has a Service and no preStop sleep.`]
    : []

const isDisruptedByOne: Rule = ({ labels, at }, all) =>
  all.some(({ kind, spec }) => kind === 'PodDisruptionBudget' && selects(spec?.selector, labels))
    ? []
    : [`${at}: no PodDisruptionBudget is about it.`]

const isSpread: Rule = ({ pod, labels, at }) => {
  const constraints = pod.topologySpreadConstraints ?? []
  return constraints.length > 0 && constraints.every(({ labelSelector }) => selects(labelSelector, labels))
    ? []
    : [`${at}: nothing spreads it over nodes.`]
}

const selectsItself: Rule = ({ resource, labels, at }) =>
  selects(resource.spec?.selector, labels) ? [] : [`${at}: its selector is not about its own pods.`]

const oneSaysHowMany: Rule = ({ resource, name, at }, all) => {
  const scalers = all.filter(
    ({ kind, spec }) =>
      ['HorizontalPodAutoscaler', 'ScaledObject'].includes(kind) && spec?.scaleTargetRef?.name === name,
  )
  const count = scalers.length + (resource.spec?.replicas === undefined ? 0 : 1)
  return count === 1
    ? []
    : [`${at}: ${count === 0 ? 'nobody says' : `${String(count)} say`} how many there are.`]
}

const waitsForMigration: Rule = (workload, all) => {
  const variables = (containers: Container[]) =>
    containers.flatMap((container) =>
      Object.keys(environmentOf(container, all)).filter((name) => name.includes('DATABASE_URL')),
    )
  const waiting = (workload.pod.initContainers ?? []).filter(
    ({ args }) => args?.join(' ') === 'migrate --wait',
  )
  const waited = variables(waiting)
  return variables(workload.pod.containers)
    .filter((name) => !waited.includes(name))
    .map((name) => `${workload.at}: nothing waits for the migration of ${name}.`)
}

export const everyRule = [
  settingsAreKnown,
  isForProduction,
  secretsAreFiles,
  volumesAreThere,
  noServiceLinks,
  podIsLocked,
  containersAreLocked,
  resourcesAreSaid,
  mayTalk,
]
/** Of what runs for ever. */
export const deploymentRules = [
  portsAreTheImages,
  probesAreAnswered,
  stopsInTime,
  leavesItsService,
  isDisruptedByOne,
  isSpread,
  selectsItself,
  oneSaysHowMany,
  waitsForMigration,
]
