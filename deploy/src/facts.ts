import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { topicPlans, topics } from '@likewise/events'

/** What the manifests must agree with. */
export interface Facts {
  /** By the service's name: the variables that it reads, with their defaults. */
  settings: Map<string, Map<string, string | undefined>>
  /** By the service's name: the port that its image has it listen on. */
  ports: Map<string, number>
  /** The number of the user in the Dockerfile. */
  user: number
  topic: string
  partitions: number
  /** Routes that every service answers probes at. */
  probes: readonly string[]
}

/** Of the Node images. Kubernetes must be told a number: by a name it cannot tell that it is not root. */
const userIds: Record<string, number> = { node: 1000 }

/** README's table is made from the schemas that the services read (npm run check compares it). */
export function readFacts(root: string): Facts {
  const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')
  const user = /^USER (\w+)$/m.exec(dockerfile)?.[1] ?? 'root'
  return {
    settings: readSettings(readFileSync(join(root, 'README.md'), 'utf8')),
    ports: readPorts(dockerfile),
    user: userIds[user] ?? 0,
    topic: topics.catalogEvents,
    partitions: topicPlans.find(({ topic }) => topic === topics.catalogEvents)?.partitions ?? 0,
    probes: ['/livez', '/readyz'],
  }
}

/** In the table's words. */
const everyService = 'every service'
const services = ['like-api', 'metrics-api', 'outbox-relay', 'metrics-consumer', 'likewise (CLI)']

function readSettings(readme: string): Facts['settings'] {
  const settings: Facts['settings'] = new Map(
    services.map((service) => [service, new Map<string, string | undefined>()]),
  )
  for (const [, name = '', shown = '', users = ''] of readme.matchAll(
    /^\| `([A-Z_]+)` \| ([^|]*) \| .*? \| ([^|]+) \| [^|]+ \|$/gm,
  )) {
    const value = /^`(.*)`$/.exec(shown)?.[1]
    for (const user of users.split(', ')) {
      for (const service of user === everyService ? services : [user]) settings.get(service)?.set(name, value)
    }
  }
  return settings
}

const portOf = {
  'like-api': 'LIKE_API',
  'metrics-api': 'METRICS_API',
  'outbox-relay': 'RELAY',
  'metrics-consumer': 'CONSUMER',
}

function readPorts(dockerfile: string): Facts['ports'] {
  return new Map(
    Object.entries(portOf).map(([service, prefix]) => [
      service,
      Number(new RegExp(`\\b${prefix}_PORT=(\\d+)`).exec(dockerfile)?.[1]),
    ]),
  )
}
