const sides = ['CATALOG', 'METRICS'] as const
type Side = (typeof sides)[number]
type Variable = `${Side}_DATABASE_URL` | `${Side}_DATABASE_DIRECT_URL`

export interface MigrationTarget {
  /** The variable that names it, for whoever has to mend it. */
  variable: Variable
  url: string
}

/** The databases to migrate, each once: without a pooler where there is one, both sides where they are two. */
export function migrationTargets(env: Readonly<Partial<Record<Variable, string>>>): MigrationTarget[] {
  const isOne = !env.METRICS_DATABASE_DIRECT_URL && env.METRICS_DATABASE_URL === env.CATALOG_DATABASE_URL
  const targets = (isOne ? sides.slice(0, 1) : sides).flatMap((side): MigrationTarget[] => {
    const direct = `${side}_DATABASE_DIRECT_URL` as const
    const variable = env[direct] ? direct : (`${side}_DATABASE_URL` as const)
    const url = env[variable]
    return url ? [{ variable, url }] : []
  })
  return targets.filter(({ url }, i) => targets.findIndex((target) => target.url === url) === i)
}
