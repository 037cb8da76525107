import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { type Resource, readManifests } from './manifest.ts'

interface Kustomization {
  resources?: string[]
  components?: string[]
  configMapGenerator?: { name: string; literals?: string[] }[]
  patches?: { target: { kind: string; name: string }; patch: string }[]
  [field: string]: unknown
}

/** Of JSON Patch. */
interface Operation {
  op: string
  path: string
  value?: unknown
}

/** What changes nothing that is checked here: names of the namespace, labels that nothing selects by, tags. */
const passedOver = ['apiVersion', 'kind', 'namespace', 'labels', 'images']

/**
 * The resources of a kustomization as they stand in its files, without kustomize: the base and the jobs are kept so plain that
 * this is enough. What an overlay makes of them is looked at where kustomize is to be had (scripts/kubernetes.mjs).
 */
export function readKustomization(folder: string): Resource[] {
  const kustomization = parseKustomization(folder, ['resources', 'configMapGenerator'])
  return [
    ...readResources(folder, kustomization),
    ...(kustomization.configMapGenerator ?? []).map(({ name, literals = [] }) => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name },
      data: dataOf(literals),
    })),
  ]
}

/** What a component makes of resources: it adds its own, adds to ConfigMaps, and changes what it has a target for. */
export function withComponent(resources: readonly Resource[], folder: string): Resource[] {
  const fields = ['resources', 'components', 'configMapGenerator', 'patches']
  const component = parseKustomization(folder, fields)
  const all = (component.components ?? []).reduce<Resource[]>(
    (before, path) => withComponent(before, join(folder, path)),
    [...structuredClone([...resources]), ...readResources(folder, component)],
  )
  for (const { name, literals = [] } of component.configMapGenerator ?? []) {
    const map = all.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === name)
    if (map) Object.assign((map.data ??= {}), dataOf(literals))
  }
  for (const { target, patch } of component.patches ?? []) {
    for (const resource of all) {
      if (resource.kind !== target.kind || resource.metadata.name !== target.name) continue
      for (const operation of parse(patch) as Operation[]) apply(resource, operation)
    }
  }
  return all
}

function apply(resource: Resource, { op, path, value }: Operation): void {
  const steps = path.split('/').slice(1)
  const last = steps.pop() ?? ''
  const at = steps.reduce<unknown>((part, step) => (part as Record<string, unknown>)[step], resource)
  if (op === 'add' && last === '-') (at as unknown[]).push(value)
  else if (op === 'add') (at as Record<string, unknown>)[last] = value
  else if (op === 'remove') Reflect.deleteProperty(at as object, last)
  else throw new Error(`${op} ${path} is not read here.`)
}

function readResources(folder: string, { resources = [] }: Kustomization): Resource[] {
  return resources.flatMap((path) => {
    const full = join(folder, path)
    return statSync(full).isDirectory() ? readKustomization(full) : readManifests(readFileSync(full, 'utf8'))
  })
}

/** Throws where there is more than `fields`. */
function parseKustomization(folder: string, fields: readonly string[]): Kustomization {
  const [found] = readManifests(readFileSync(join(folder, 'kustomization.yaml'), 'utf8'))
  const kustomization = found as unknown as Kustomization
  const unknown = Object.keys(kustomization).filter((field) => ![...passedOver, ...fields].includes(field))
  if (unknown.length > 0) throw new Error(`${folder} has ${unknown.join(', ')}, which is not read here.`)
  return kustomization
}

const dataOf = (literals: readonly string[]): Record<string, string> =>
  Object.fromEntries(literals.map(readLiteral))

function readLiteral(literal: string): [string, string] {
  const at = literal.indexOf('=')
  return [literal.slice(0, at), literal.slice(at + 1)]
}
