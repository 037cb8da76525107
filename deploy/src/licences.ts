import { type Lock, nameOf, requiredBy } from './lock.ts'

export interface LicenceRules {
  /** SPDX identifiers. */
  allowed: string[]
  /** Packages whose lock entry says nothing, or something that is allowed for them only. */
  exceptions: { package: string; licence: string; reason: string }[]
}

export interface Package {
  name: string
  version: string
  licence: string
}

/** Packages of others in the lock, each once; `images` are those that an image needs. Pure. */
export function packagesOf(
  lock: Lock,
  { exceptions }: LicenceRules,
  apps: readonly string[],
): { images: Package[]; tools: Package[] } {
  const shipped = new Set(apps.flatMap((app) => [...requiredBy(lock, app)]))
  const known = new Map(exceptions.map((exception) => [exception.package, exception.licence]))
  const [images, tools] = [new Map<string, Package>(), new Map<string, Package>()]
  for (const [folder, { link, version = '', license }] of Object.entries(lock)) {
    if (link || !folder.includes('node_modules/')) continue
    const name = nameOf(folder)
    const found = { name, version, licence: license ?? known.get(name) ?? '' }
    const kind = shipped.has(folder) ? images : tools
    kind.set(`${name}@${version}`, found)
  }
  for (const id of images.keys()) tools.delete(id)
  const sorted = (map: Map<string, Package>) => [...map.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  return { images: sorted(images), tools: sorted(tools) }
}

/** Sentences about licences that nobody has allowed, and about exceptions that nothing needs. Pure. */
export function licenceFaults(packages: readonly Package[], { allowed, exceptions }: LicenceRules): string[] {
  const isExcepted = (found: Package) =>
    exceptions.some((exception) => exception.package === found.name && exception.licence === found.licence)
  return [
    ...packages
      .filter((found) => !isExcepted(found) && !isAllowed(found.licence, allowed))
      .map(
        ({ name, version, licence }) =>
          `${name}@${version} has ${licence === '' ? 'no licence that its lock entry tells' : `the licence ${licence}, which is not on the list`}.`,
      ),
    ...exceptions
      .filter((exception) => !packages.some(({ name }) => name === exception.package))
      .map((exception) => `The exception for ${exception.package} is not needed any more: remove it.`),
    ...exceptions
      .filter(({ reason }) => reason.trim() === '')
      .map((exception) => `The exception for ${exception.package} has no reason.`),
  ]
}

/** An SPDX expression of OR, AND and brackets: of an OR one side is enough. */
export function isAllowed(expression: string, allowed: readonly string[]): boolean {
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? []
  let at = 0
  const takes = (word: string) => {
    if (tokens[at]?.toUpperCase() !== word) return false
    at += 1
    return true
  }
  const one = (): boolean => {
    if (!takes('(')) return allowed.includes(tokens[at++] ?? '')
    const inner = either()
    return takes(')') && inner
  }
  const all = (): boolean => {
    let isRight = one()
    while (takes('AND')) isRight = one() && isRight
    return isRight
  }
  const either = (): boolean => {
    let isRight = all()
    while (takes('OR')) isRight = all() || isRight
    return isRight
  }
  return either() && at === tokens.length
}

/** The most frequent one first. */
function byLicence(packages: readonly Package[]): [string, Package[]][] {
  const groups = new Map<string, Package[]>()
  for (const found of packages) groups.set(found.licence, [...(groups.get(found.licence) ?? []), found])
  return [...groups].sort(([, a], [, b]) => b.length - a.length)
}

/** docs/licences.md. */
export function licencePage(
  { images, tools }: { images: readonly Package[]; tools: readonly Package[] },
  rules: LicenceRules,
): string {
  return [
    '# Licences',
    '',
    `Likewise is under the [MIT licence](../LICENSE). It is made of the packages below; \`npm run check\` fails where one comes in whose licence is not on the list of \`deploy/licences.json\`. This page is written by \`npm run licences\` from package-lock.json.`,
    '',
    `Allowed: ${rules.allowed.join(', ')}.`,
    '',
    '## In the images',
    '',
    'What the five apps cannot run without. npm may leave a package more in an image; its `sbom.cdx.json` has them all.',
    '',
    '| licence | packages |',
    '| --- | --- |',
    ...byLicence(images).map(
      ([licence, list]) =>
        `| ${licence} | ${list.map(({ name, version }) => `${name} ${version}`).join(', ')} |`,
    ),
    '',
    '## For development, and optional',
    '',
    'Tools, and what packages would only like to have: in no image.',
    '',
    '| licence | packages |',
    '| --- | --- |',
    ...byLicence(tools).map(([licence, list]) => `| ${licence} | ${String(list.length)} |`),
    '',
    '## By name',
    '',
    '| package | licence | why |',
    '| --- | --- | --- |',
    ...rules.exceptions.map(
      (exception) => `| ${exception.package} | ${exception.licence} | ${exception.reason} |`,
    ),
    '',
  ].join('\n')
}
