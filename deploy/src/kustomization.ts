import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Resource, readManifests } from './manifest.ts'

interface Kustomization {
  resources?: string[]
  configMapGenerator?: { name: string; literals?: string[] }[]
  [field: string]: unknown
}

/** What changes nothing that is checked here: names of the namespace, labels that nothing selects by, tags. */
const passedOver = ['apiVersion', 'kind', 'namespace', 'labels', 'images']

/**
 * The resources of a kustomization as they stand in its files, without kustomize: the base and the jobs are kept so plain that
 * this is enough. What an overlay makes of them is looked at where kustomize is to be had (scripts/kubernetes.mjs).
 */
export function readKustomization(folder: string): Resource[] {
  const kustomization = parseKustomization(folder)
  const { resources = [], configMapGenerator = [], ...rest } = kustomization
  const unknown = Object.keys(rest).filter((field) => !passedOver.includes(field))
  if (unknown.length > 0) throw new Error(`${folder} has ${unknown.join(', ')}, which is not read here.`)
  return [
    ...resources.flatMap((path) => {
      const full = join(folder, path)
      return statSync(full).isDirectory()
        ? readKustomization(full)
        : readManifests(readFileSync(full, 'utf8'))
    }),
    ...configMapGenerator.map(({ name, literals = [] }) => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name },
      data: Object.fromEntries(literals.map(readLiteral)),
    })),
  ]
}

function parseKustomization(folder: string): Kustomization {
  const [found] = readManifests(readFileSync(join(folder, 'kustomization.yaml'), 'utf8'))
  return found as unknown as Kustomization
}

function readLiteral(literal: string): [string, string] {
  const at = literal.indexOf('=')
  return [literal.slice(0, at), literal.slice(at + 1)]
}
