import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'
import { buildHttp, buildLogger, buildTelemetry } from '@likewise/service'
import Schema from 'typebox/schema'
import { readFacts } from './facts.ts'
import { readKustomization, withComponent } from './kustomization.ts'
import type { Resource } from './manifest.ts'
import { faultsOf } from './manifest-rules.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const kubernetes = join(root, 'deploy/kubernetes')
const facts = readFacts(root)
const base = readKustomization(join(kubernetes, 'base'))
const jobs = readKustomization(join(kubernetes, 'jobs'))
const component = (name: string) => join(kubernetes, 'components', name)
const schemaOf = (file: string) =>
  Schema.Compile(JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8')) as object)

/** Services and jobs; the namespace is in both. */
function together(services: Resource[], ofJobs: Resource[]): Resource[] {
  const there = new Set(services.map(({ kind, metadata }) => `${kind} ${metadata.name}`))
  const isNew = ({ kind, metadata }: Resource) => !there.has(`${kind} ${metadata.name}`)
  return [...services, ...ofJobs.filter(isNew)]
}

const everything = (): Resource[] => together(withComponent(base, component('keda')), structuredClone(jobs))

/** At a Kafka that wants a password. */
const everythingProven = (): Resource[] =>
  together(
    ['keda', 'kafka-sasl', 'keda-sasl'].reduce((all, name) => withComponent(all, component(name)), base),
    withComponent(jobs, component('kafka-sasl')),
  )

function find(resources: Resource[], what: string): Resource {
  return resources.find(({ kind, metadata }) => `${kind} ${metadata.name}` === what)!
}

const podOf = (resources: Resource[], what: string) => find(resources, what).spec!.template!.spec
const containerOf = (resources: Resource[], what: string) => podOf(resources, what).containers[0]!

describe('the manifests', () => {
  it('agree with the services and with themselves', () => {
    expect(faultsOf(base, facts)).toEqual([])
    expect(faultsOf(everything(), facts)).toEqual([])
    expect(faultsOf(everythingProven(), facts)).toEqual([])
  })

  it('give each service at a Kafka that wants a password a secret of its own', () => {
    const proven = everythingProven()
    const secrets = ['Deployment outbox-relay', 'Deployment metrics-consumer', 'Job topics'].map((what) =>
      podOf(proven, what).volumes?.find(({ name }) => name === 'kafka'),
    )
    expect(secrets.map((volume) => volume?.secret?.secretName)).toEqual([
      'outbox-relay-kafka',
      'metrics-consumer-kafka',
      'topics-kafka',
    ])
    expect(find(proven, 'ScaledObject metrics-consumer').spec?.triggers).toMatchObject([
      { metadata: { tls: 'enable', sasl: 'scram_sha512' }, authenticationRef: { name: 'scaler-kafka' } },
    ])
  })

  it('run every service that has an image', () => {
    const deployments = base.filter(({ kind }) => kind === 'Deployment').map(({ metadata }) => metadata.name)
    expect(deployments.sort()).toEqual([...facts.ports.keys()].sort())
  })

  it('say what the Dockerfile and the settings of the README say', () => {
    expect([...facts.ports.values()]).toEqual([8080, 8080, 8080, 8080])
    expect(facts).toMatchObject({ user: 1000, topic: 'catalog-events', partitions: 12 })
    expect(facts.settings.get('like-api')?.get('LIKE_API_POOL_SIZE')).toBe('10')
    expect(facts.settings.get('outbox-relay')?.has('KAFKA_BROKERS')).toBe(true)
    expect(facts.settings.get('metrics-consumer')?.has('CATALOG_DATABASE_URL')).toBe(false)
  })

  it('ask for probes that a service answers', async () => {
    const app = buildHttp({
      log: buildLogger({ service: 'test', level: 'silent' }),
      telemetry: buildTelemetry('test'),
      service: 'test',
      version: '0',
      ready: async () => ({}),
    })
    const answers = await Promise.all(facts.probes.map((path) => app.inject(path)))
    expect(answers.map(({ statusCode }) => statusCode)).toEqual([200, 200])
    await app.close()
  })
})

describe('a manifest is refused', () => {
  const breaks: [string, (resources: Resource[]) => void, string][] = [
    [
      'with a variable that its service does not read',
      (all) => containerOf(all, 'Deployment like-api').env!.push({ name: 'LIKE_API_POOLSIZE', value: '5' }),
      'Deployment like-api: LIKE_API_POOLSIZE is no setting of like-api.',
    ],
    [
      "with another service's variable",
      (all) => (find(all, 'ConfigMap metrics-api').data!['AUTH_MODE'] = 'jwt'),
      'Deployment metrics-api: AUTH_MODE is no setting of metrics-api.',
    ],
    [
      'with an image that is not ours',
      (all) => (containerOf(all, 'Deployment like-api').image = 'likewise/likeapi:1'),
      'Deployment like-api: likewise/likeapi:1 is none of our images.',
    ],
    [
      'with a ConfigMap that is not there',
      (all) => (find(all, 'ConfigMap like-api').metadata.name = 'likeapi'),
      'Deployment like-api: there is no ConfigMap like-api.',
    ],
    [
      'where a developer’s defaults would hold',
      (all) => (containerOf(all, 'Job topics').env = []),
      'Job topics: NODE_ENV of topics is not production.',
    ],
    [
      'with a password in a variable',
      (all) =>
        containerOf(all, 'Job migrate').env!.push({ name: 'CATALOG_DATABASE_URL', value: 'postgres://…' }),
      'Job migrate: CATALOG_DATABASE_URL is a secret: mount it, and set CATALOG_DATABASE_URL_FILE.',
    ],
    [
      'with a file that is not mounted',
      (all) => (containerOf(all, 'Deployment outbox-relay').volumeMounts = []),
      'Deployment outbox-relay: CATALOG_DATABASE_URL_FILE names a file that is not mounted.',
    ],
    [
      'with a volume that is not there',
      (all) => (podOf(all, 'Job topics').volumes = []),
      'Job topics: there is no volume tmp.',
    ],
    [
      'with a Secret in it',
      (all) => all.push({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'like-api-database' } }),
      'Secret like-api-database: secrets are referred to, never written here.',
    ],
    [
      'where a Service’s variables would hide the port',
      (all) => delete podOf(all, 'Deployment metrics-api').enableServiceLinks,
      'Deployment metrics-api: enableServiceLinks is not false.',
    ],
    [
      'where the user is not the image’s',
      (all) => (podOf(all, 'Deployment like-api').securityContext!.runAsUser = 0),
      "Deployment like-api: runAsUser is not 1000, the image's own user.",
    ],
    [
      'where it may run as root',
      (all) => delete podOf(all, 'Deployment like-api').securityContext!.runAsNonRoot,
      'Deployment like-api: runAsNonRoot is not true.',
    ],
    [
      'without seccomp',
      (all) => delete podOf(all, 'Job migrate').securityContext!.seccompProfile,
      'Job migrate: seccompProfile is not RuntimeDefault.',
    ],
    [
      'where a container has capabilities',
      (all) => delete podOf(all, 'Deployment like-api').initContainers![0]!.securityContext!.capabilities,
      'Deployment like-api: migration has capabilities.',
    ],
    [
      'where a container may write to its image',
      (all) => (containerOf(all, 'Deployment outbox-relay').securityContext!.readOnlyRootFilesystem = false),
      'Deployment outbox-relay: outbox-relay may write to its root file system.',
    ],
    [
      'without a limit of memory',
      (all) => delete containerOf(all, 'Deployment outbox-relay').resources!.limits,
      'Deployment outbox-relay: outbox-relay has no limit of memory.',
    ],
    [
      'where nothing says who may talk to it',
      (all) => (find(all, 'NetworkPolicy metrics-api').spec!.podSelector = { matchLabels: { app: 'other' } }),
      'Deployment metrics-api: no NetworkPolicy is about it.',
    ],
    [
      'where a policy keeps a service from its broker',
      (all) => find(all, 'NetworkPolicy outbox-relay').spec!.egress!.pop(),
      'Deployment outbox-relay: its NetworkPolicy keeps it from Kafka.',
    ],
    [
      'where what no policy allows is allowed',
      (all) => (find(all, 'NetworkPolicy default-deny').spec!.policyTypes = ['Ingress']),
      'No NetworkPolicy denies what none allows.',
    ],
    [
      'with a port where nobody listens',
      (all) => (containerOf(all, 'Deployment like-api').ports![0]!.containerPort = 8090),
      'Deployment like-api: port http is not 8080, where the image listens.',
    ],
    [
      'with a probe that is no route',
      (all) => (containerOf(all, 'Deployment like-api').livenessProbe!.httpGet!.path = '/healthz'),
      'Deployment like-api: livenessProbe asks /healthz, which is no route.',
    ],
    [
      'where an outage would restart a service',
      (all) => (containerOf(all, 'Deployment metrics-consumer').livenessProbe!.httpGet!.path = '/readyz'),
      'Deployment metrics-consumer: livenessProbe asks /readyz instead of /livez: an outage would restart what waits it out.',
    ],
    [
      'where a service would be killed while it stops',
      (all) => (podOf(all, 'Deployment like-api').terminationGracePeriodSeconds = 19),
      'Deployment like-api: it is killed after 19 s, and its stop may take 20 s.',
    ],
    [
      'where a longer stop was set and no longer grace',
      (all) =>
        containerOf(all, 'Deployment outbox-relay').env!.push({
          name: 'SHUTDOWN_TIMEOUT_MS',
          value: '60000',
        }),
      'Deployment outbox-relay: it is killed after 20 s, and its stop may take 65 s.',
    ],
    [
      'where requests meet a closed door in a rollout',
      (all) => delete containerOf(all, 'Deployment metrics-api').lifecycle,
      'Deployment metrics-api: it has a Service and no preStop sleep.',
    ],
    [
      'without a disruption budget',
      (all) =>
        (find(all, 'PodDisruptionBudget like-api').spec!.selector = { matchLabels: { app: 'x' } } as never),
      'Deployment like-api: no PodDisruptionBudget is about it.',
    ],
    [
      'where a budget selects nothing',
      (all) =>
        (find(all, 'PodDisruptionBudget like-api').spec!.selector = { matchLabels: { app: 'x' } } as never),
      'PodDisruptionBudget like-api: it selects nothing.',
    ],
    [
      'where a Service selects nothing',
      (all) =>
        (find(all, 'Service like-api').spec!.selector = { 'app.kubernetes.io/name': 'likeapi' } as never),
      'Service like-api: it selects nothing.',
    ],
    [
      'where a Deployment does not select its own pods',
      (all) => (find(all, 'Deployment like-api').spec!.template!.metadata.labels = { app: 'x' }),
      'Deployment like-api: its selector is not about its own pods.',
    ],
    [
      'where all replicas may be on one node',
      (all) => delete podOf(all, 'Deployment like-api').topologySpreadConstraints,
      'Deployment like-api: nothing spreads it over nodes.',
    ],
    [
      'where two say how many replicas there are',
      (all) => (find(all, 'Deployment metrics-consumer').spec!.replicas = 2),
      'Deployment metrics-consumer: 2 say how many there are.',
    ],
    [
      'where a scaler scales nothing',
      (all) => (find(all, 'HorizontalPodAutoscaler like-api').spec!.scaleTargetRef!.name = 'likeapi'),
      'HorizontalPodAutoscaler like-api: there is no likeapi.',
    ],
    [
      'where a version would not wait for its migration',
      (all) => (podOf(all, 'Deployment metrics-consumer').initContainers = []),
      'Deployment metrics-consumer: nothing waits for the migration of METRICS_DATABASE_URL_FILE.',
    ],
    [
      'with more consumers than partitions',
      (all) => (find(all, 'ScaledObject metrics-consumer').spec!.maxReplicaCount = 24),
      'ScaledObject metrics-consumer: maxReplicaCount is not 12, the partitions of catalog-events.',
    ],
    [
      'where no consumer may be left',
      (all) => (find(all, 'ScaledObject metrics-consumer').spec!.minReplicaCount = 0),
      'ScaledObject metrics-consumer: minReplicaCount is below 1.',
    ],
    [
      'where consumers come and go with each minute',
      (all) => delete find(all, 'ScaledObject metrics-consumer').spec!.advanced,
      'ScaledObject metrics-consumer: it scales down after less than 5 minutes.',
    ],
    [
      'where the lag is that of another group',
      (all) =>
        (find(all, 'ScaledObject metrics-consumer').spec!.triggers![0]!.metadata['consumerGroup'] =
          'metrics'),
      'ScaledObject metrics-consumer: its group is not metrics-consumer.',
    ],
    [
      'that lands in another namespace than the rest',
      (all) => {
        for (const { kind, metadata } of all) if (kind !== 'ScaledObject') metadata.namespace = 'likewise'
      },
      'ScaledObject metrics-consumer: its namespace is not said.',
    ],
    [
      'where the lag is asked of other brokers',
      (all) => (find(all, 'ConfigMap kafka').data!['KAFKA_BROKERS'] = 'elsewhere:9092'),
      'ScaledObject metrics-consumer: it asks other brokers than the consumers.',
    ],
  ]

  it.each(breaks)('%s', (_what, breakIt, fault) => {
    const resources = everything()
    breakIt(resources)
    expect(faultsOf(resources, facts)).toContain(fault)
  })
})

describe('a manifest at a Kafka that wants a password is refused', () => {
  const trigger = (all: Resource[]) => find(all, 'ScaledObject metrics-consumer').spec!.triggers![0]!
  const proof = (all: Resource[]) => find(all, 'TriggerAuthentication scaler-kafka').spec!.secretTargetRef!
  const breaks: [string, (resources: Resource[]) => void, string][] = [
    [
      'where a service has no secret',
      (all) => containerOf(all, 'Deployment outbox-relay').volumeMounts!.pop(),
      'Deployment outbox-relay: KAFKA_TLS_CA_FILE names a file that is not mounted.',
    ],
    [
      'where KEDA would ask without TLS',
      (all) => delete trigger(all).metadata['tls'],
      'its tls is not enable, as it is for the consumers.',
    ],
    [
      'where KEDA would ask without a password',
      (all) => delete trigger(all).metadata['sasl'],
      'its sasl is not scram_sha512, as it is for the consumers.',
    ],
    [
      'where KEDA has another way of proof than the consumers',
      (all) => (find(all, 'ConfigMap kafka').data!['KAFKA_SASL_MECHANISM'] = 'scram-sha-256'),
      'its sasl is not scram_sha256, as it is for the consumers.',
    ],
    [
      'where what KEDA is to prove itself by is not there',
      (all) => (trigger(all).authenticationRef!.name = 'scaler'),
      'no TriggerAuthentication gives it username, password, ca.',
    ],
    ['where KEDA knows no CA', (all) => proof(all).pop(), 'no TriggerAuthentication gives it ca.'],
    [
      'where KEDA is the consumer',
      (all) => (proof(all)[1]!.name = 'metrics-consumer-kafka'),
      'its password is of metrics-consumer-kafka, the secret of somebody who may read.',
    ],
  ]

  it.each(breaks)('%s', (_what, breakIt, fault) => {
    const resources = everythingProven()
    breakIt(resources)
    const faults = faultsOf(resources, facts)
    expect(faults.map((one) => one.replace('ScaledObject metrics-consumer: ', ''))).toContain(fault)
  })

  it('where KEDA would prove itself to a Kafka that asks nobody', () => {
    const resources = withComponent(everything(), component('keda-sasl'))
    expect(faultsOf(resources, facts)).toEqual([
      'ScaledObject metrics-consumer: its tls is not disable, as it is for the consumers.',
      'ScaledObject metrics-consumer: its sasl is not none, as it is for the consumers.',
    ])
  })
})

describe("KEDA's own schema", () => {
  const schemas: [string, ReturnType<typeof schemaOf>][] = [
    ['ScaledObject metrics-consumer', schemaOf('scaled-object.schema.json')],
    ['TriggerAuthentication scaler-kafka', schemaOf('trigger-authentication.schema.json')],
  ]

  it.each(schemas)('takes the %s', (what, schema) => {
    const found = [...everything(), ...everythingProven()].filter(
      ({ kind, metadata }) => `${kind} ${metadata.name}` === what,
    )
    expect(found.length).toBeGreaterThan(0)
    expect(found.flatMap((resource) => schema.Errors(resource)[1])).toEqual([])
  })

  it.each(schemas)('refuses the %s with a field that KEDA does not know', (what, schema) => {
    const misspelt = find(everythingProven(), what)
    Object.assign(misspelt.spec!, { maxReplicas: 12 })
    expect(schema.Check(misspelt)).toBe(false)
  })
})
