import { Failure } from '@likewise/service'
import { type App, type ServicePlan, portVariables } from './services.ts'

export interface StackPlan {
  likeApis: number
  relays: number
  consumers: number
  /** First port of each app; further instances take the next ones. */
  ports: Readonly<Record<App, number>>
}

const portMax = 65_535

export function servicePlans(plan: StackPlan): ServicePlan[] {
  return counts(plan).flatMap(([app, count]) =>
    Array.from({ length: count }, (_, i) => ({
      app,
      name: `${app}-${String(i + 1)}`,
      port: plan.ports[app] + i,
    })),
  )
}

/** Throws CONFIG_INVALID, naming the variables, when two instances would want one port, or one a port that is none. */
export function requireDistinctPorts(plan: StackPlan): void {
  const ranges = counts(plan).map(([app, count]) => {
    const [first, last] = [plan.ports[app], plan.ports[app] + count - 1]
    return {
      variable: portVariables[app],
      first,
      last,
      text: first === last ? `${first}` : `${first} to ${last}`,
    }
  })
  for (const [index, one] of ranges.entries()) {
    if (one.last > portMax) {
      throw new Failure(
        'CONFIG_INVALID',
        `${one.variable} is too high: ports ${one.text} are wanted, the last one is ${portMax}.`,
      )
    }
    const other = ranges.slice(index + 1).find(({ first, last }) => first <= one.last && one.first <= last)
    if (other === undefined) continue
    throw new Failure(
      'CONFIG_INVALID',
      `${one.variable} (${one.text}) and ${other.variable} (${other.text}) name the same ports; set them further apart.`,
    )
  }
}

function counts({ likeApis, relays, consumers }: StackPlan): [App, number][] {
  return [
    ['like-api', likeApis],
    ['outbox-relay', relays],
    ['metrics-consumer', consumers],
    ['metrics-api', 1],
  ]
}
