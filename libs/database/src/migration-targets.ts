type Side = 'CATALOG' | 'METRICS'
type Variable = `${Side}_DATABASE_URL` | `${Side}_DATABASE_DIRECT_URL`
type Env = Readonly<Partial<Record<Variable, string>>>

export interface MigrationTarget {
  /** The variable that names it, for whoever has to mend it. */
  variable: Variable
  url: string
}

/** Where each side's owner reaches its database: without a pooler where there is one; both the same where they are one. */
export function ownerTargets(env: Env): Partial<Record<'catalog' | 'metrics', MigrationTarget>> {
  const catalog = targetOf(env, 'CATALOG')
  const isOne = !env.METRICS_DATABASE_DIRECT_URL && env.METRICS_DATABASE_URL === env.CATALOG_DATABASE_URL
  const metrics = (isOne ? undefined : targetOf(env, 'METRICS')) ?? catalog
  return { ...(catalog && { catalog }), ...(metrics && { metrics }) }
}

/** The databases to migrate, each once. */
export function migrationTargets(env: Env): MigrationTarget[] {
  const targets = Object.values(ownerTargets(env))
  return targets.filter(({ url }, i) => targets.findIndex((target) => target.url === url) === i)
}

function targetOf(env: Env, side: Side): MigrationTarget | undefined {
  const direct = `${side}_DATABASE_DIRECT_URL` as const
  const variable = env[direct] ? direct : (`${side}_DATABASE_URL` as const)
  const url = env[variable]
  return url ? { variable, url } : undefined
}
