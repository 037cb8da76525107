import type { Facts } from './facts.ts'
import { type Labels, type Resource, isDefaultDeny, matches } from './manifest.ts'
import { scaledObjectFaults } from './scaled-object-rules.ts'
import { type Workload, deploymentRules, everyRule } from './workload-rules.ts'

/** Everything in which the manifests contradict the services or themselves, as sentences; pure. */
export function faultsOf(resources: readonly Resource[], facts: Facts): string[] {
  const workloads = resources.flatMap(workloadOf)
  return [
    ...workloads.flatMap((workload) => [
      ...everyRule.flatMap((rule) => rule(workload, resources, facts)),
      ...(workload.kind === 'Deployment'
        ? deploymentRules.flatMap((rule) => rule(workload, resources, facts))
        : []),
    ]),
    ...targetFaults(resources, workloads),
    ...scaledObjectFaults(resources, facts),
    ...namespaceFaults(resources),
    ...resources
      .filter(({ kind }) => kind === 'Secret')
      .map(({ metadata }) => `Secret ${metadata.name}: secrets are referred to, never written here.`),
    ...(resources.some((resource) => isDefaultDeny(resource))
      ? []
      : ['No NetworkPolicy denies what none allows.']),
  ]
}

/** Built ones have it: what has none lands wherever whoever applies it happens to be. */
function namespaceFaults(resources: readonly Resource[]): string[] {
  const placed = resources.filter(({ kind }) => kind !== 'Namespace')
  const namespaces = new Set(placed.map(({ metadata }) => metadata.namespace))
  if (namespaces.size <= 1) return []
  return placed
    .filter(({ metadata }) => metadata.namespace !== placed[0]?.metadata.namespace)
    .map(
      ({ kind, metadata }) =>
        `${kind} ${metadata.name}: its namespace is ${metadata.namespace ?? 'not said'}.`,
    )
}

function workloadOf(resource: Resource): Workload[] {
  const { kind, metadata, spec } = resource
  if (spec?.template === undefined) return []
  const { name } = metadata
  const at = `${kind} ${name}`
  return [{ name, kind, resource, at, labels: spec.template.metadata.labels ?? {}, pod: spec.template.spec }]
}

/** Whatever points at pods must find some. */
function targetFaults(resources: readonly Resource[], workloads: readonly Workload[]): string[] {
  const isFound = (selector: Labels) => workloads.some(({ labels }) => matches(selector, labels))
  return resources.flatMap(({ kind, metadata, spec }) => {
    const at = `${kind} ${metadata.name}`
    const selector =
      kind === 'Service'
        ? spec?.selector
        : kind === 'PodDisruptionBudget'
          ? spec?.selector?.matchLabels
          : spec?.podSelector?.matchLabels
    const target = spec?.scaleTargetRef?.name
    return [
      ...(selector === undefined || isFound(selector) ? [] : [`${at}: it selects nothing.`]),
      ...(target === undefined || workloads.some(({ name }) => name === target)
        ? []
        : [`${at}: there is no ${target}.`]),
    ]
  })
}
