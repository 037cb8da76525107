import { parseAllDocuments } from 'yaml'

/** What is read of Kubernetes' resources here; their whole shape is the schemas' business (scripts/kubernetes.mjs). */
export interface Resource {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; labels?: Labels }
  spec?: Spec
  data?: Record<string, string>
}

export type Labels = Record<string, string>

export interface Selector {
  matchLabels?: Labels
}

interface Spec {
  replicas?: number
  /** Of a Deployment; a Service has the labels themselves. */
  selector?: Selector & Labels
  podSelector?: Selector
  template?: { metadata: { labels?: Labels }; spec: PodSpec }
  ports?: { port: number; targetPort: number | string }[]
  scaleTargetRef?: { name: string }
  policyTypes?: string[]
  egress?: { ports?: { port: number | string }[] }[]
  minReplicas?: number
  maxReplicas?: number
  minReplicaCount?: number
  maxReplicaCount?: number
  advanced?: {
    horizontalPodAutoscalerConfig?: { behavior?: { scaleDown?: { stabilizationWindowSeconds?: number } } }
  }
  triggers?: { type: string; metadata: Record<string, string>; authenticationRef?: { name: string } }[]
  /** Of a TriggerAuthentication. */
  secretTargetRef?: { parameter: string; name: string; key: string }[]
}

export interface PodSpec {
  automountServiceAccountToken?: boolean
  enableServiceLinks?: boolean
  terminationGracePeriodSeconds?: number
  securityContext?: {
    runAsNonRoot?: boolean
    runAsUser?: number
    seccompProfile?: { type?: string }
  }
  topologySpreadConstraints?: { labelSelector?: Selector }[]
  initContainers?: Container[]
  containers: Container[]
  volumes?: { name: string; secret?: { secretName: string } }[]
}

export interface Container {
  name: string
  image: string
  args?: string[]
  env?: { name: string; value?: string; valueFrom?: unknown }[]
  envFrom?: { configMapRef?: { name: string } }[]
  ports?: { name: string; containerPort: number }[]
  volumeMounts?: { name: string; mountPath: string }[]
  securityContext?: {
    allowPrivilegeEscalation?: boolean
    readOnlyRootFilesystem?: boolean
    capabilities?: { drop?: string[]; add?: string[] }
  }
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> }
  lifecycle?: { preStop?: { sleep?: { seconds: number } } }
  startupProbe?: Probe
  livenessProbe?: Probe
  readinessProbe?: Probe
}

interface Probe {
  httpGet?: { path: string; port: number | string }
  timeoutSeconds?: number
}

/** Every document of a file, or of what `kustomize build` prints. */
export function readManifests(text: string): Resource[] {
  return parseAllDocuments(text).map((document) => {
    const [error] = document.errors
    if (error !== undefined) throw error
    return document.toJS() as Resource
  })
}

/** The image's own name: `registry.example/likewise/cli:0.1.0` is `likewise/cli`. */
export function imageNameOf({ image }: Container): string {
  return image
    .replace(/@.*$/, '')
    .replace(/:[^/]*$/, '')
    .split('/')
    .slice(-2)
    .join('/')
}

/** The variables of a container, ConfigMaps included; the value of one that comes from elsewhere is undefined. */
export function environmentOf(
  container: Container,
  resources: readonly Resource[],
): Record<string, string | undefined> {
  const taken = (container.envFrom ?? []).map(({ configMapRef }) =>
    resources.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === configMapRef?.name),
  )
  return Object.fromEntries<string | undefined>([
    ...taken.flatMap((map) => Object.entries(map?.data ?? {})),
    ...(container.env ?? []).map(({ name, value }) => [name, value] as const),
  ])
}

/** What no other policy allows, is not. */
export function isDefaultDeny({ kind, spec }: Resource): boolean {
  const { podSelector, policyTypes = [], egress } = spec ?? {}
  const isOfAll = podSelector !== undefined && Object.keys(podSelector).length === 0
  return (
    kind === 'NetworkPolicy' &&
    isOfAll &&
    egress === undefined &&
    ['Ingress', 'Egress'].every((type) => policyTypes.includes(type))
  )
}

export const selects = (selector: Selector | undefined, labels: Labels): boolean =>
  selector?.matchLabels !== undefined && matches(selector.matchLabels, labels)

/** Nothing selects nothing: an empty selector would mean all. */
export function matches(selector: Labels, labels: Labels): boolean {
  const entries = Object.entries(selector)
  return entries.length > 0 && entries.every(([name, value]) => labels[name] === value)
}
