import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'
import { parse } from 'yaml'

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')

interface Compose {
  services: Record<string, { image?: string; build?: { context: string; args?: Record<string, string> } }>
}

// The other overlays bring no image.
const services = ['docker-compose.yml', 'docker-compose.pgbouncer.yml'].flatMap((file) =>
  Object.entries((parse(read(file), { merge: true }) as Compose).services),
)
const dockerfiles = ['Dockerfile', 'deploy/debezium/Dockerfile', 'deploy/pgbouncer/Dockerfile']

/** `${NAME:-image:tag}`: a digest may take its place. */
const byOption = /^\$\{(\w+):-([\w./-]+:[\w.-]+)\}$/

describe("other people's images", () => {
  it.each(services.filter(([, { image }]) => image !== undefined && !image.startsWith('likewise/')))(
    'of the service %s can be pinned',
    (_name, { image }) => {
      expect(image).toMatch(byOption)
    },
  )

  it.each(dockerfiles)('of %s can be pinned', (path) => {
    const text = read(path)
    const bases = [...text.matchAll(/^FROM (\S+)/gm)].map(([, image]) => String(image))
    const stages = [...text.matchAll(/^FROM \S+ AS (\S+)/gm)].map(([, stage]) => stage)
    const options = [...text.matchAll(/^ARG (\w+)=\S+:\S+$/gm)].map(([, name]) => `\${${String(name)}}`)
    expect(
      bases.filter((base) => base !== 'scratch' && !stages.includes(base) && !options.includes(base)),
    ).toEqual([])
  })

  it('are handed on to every image that is built', () => {
    const built = services.flatMap(([, { build }]) => build ?? [])
    expect(new Set(built.map(({ context }) => context)).size).toBe(dockerfiles.length)
    for (const { context, args } of built) {
      const wanted = [...read(`${context}/Dockerfile`).matchAll(/^ARG (\w+_IMAGE)=/gm)].map(
        ([, name]) => name,
      )
      expect(Object.keys(args ?? {})).toEqual(expect.arrayContaining(wanted))
    }
  })

  it('are the same ones in compose and in the Dockerfiles', () => {
    const defaults = Object.fromEntries<string | undefined>(
      [
        ...dockerfiles
          .map(read)
          .join('\n')
          .matchAll(/^ARG (\w+_IMAGE)=(\S+)$/gm),
      ].map(([, name, image]) => [String(name), image]),
    )
    const handed = services.flatMap(([, { build }]) =>
      Object.entries(build?.args ?? {}).filter(([name]) => name.endsWith('_IMAGE')),
    )
    expect(handed.length).toBeGreaterThan(0)
    for (const [name, value] of handed) expect(byOption.exec(value)?.slice(1)).toEqual([name, defaults[name]])
  })
})
