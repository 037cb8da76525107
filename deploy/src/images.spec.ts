import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'
import { parse } from 'yaml'

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')

interface Compose {
  services: Record<string, { image?: string; build?: { args?: Record<string, string> } }>
}

const { services } = parse(read('docker-compose.yml'), { merge: true }) as Compose

/** `${NAME:-image:tag}`: a digest may take its place. */
const byOption = /^\$\{(\w+):-([\w./-]+:[\w.-]+)\}$/

describe("other people's images", () => {
  it.each(Object.entries(services).filter(([, { image }]) => !image?.startsWith('likewise/')))(
    'of the service %s can be pinned',
    (_name, { image }) => {
      expect(image).toMatch(byOption)
    },
  )

  it.each(['Dockerfile', 'deploy/debezium/Dockerfile'])('of %s can be pinned', (path) => {
    const text = read(path)
    const bases = [...text.matchAll(/^FROM (\S+)/gm)].map(([, image]) => String(image))
    const stages = [...text.matchAll(/^FROM \S+ AS (\S+)/gm)].map(([, stage]) => stage)
    const options = [...text.matchAll(/^ARG (\w+)=\S+:\S+$/gm)].map(([, name]) => `\${${String(name)}}`)
    expect(
      bases.filter((base) => base !== 'scratch' && !stages.includes(base) && !options.includes(base)),
    ).toEqual([])
  })

  it('are the same ones in compose and in the Dockerfiles', () => {
    const defaults = Object.fromEntries<string | undefined>(
      [
        ...`${read('Dockerfile')}\n${read('deploy/debezium/Dockerfile')}`.matchAll(
          /^ARG (\w+_IMAGE)=(\S+)$/gm,
        ),
      ].map(([, name, image]) => [String(name), image]),
    )
    const handed = Object.values(services).flatMap(({ build }) =>
      Object.entries(build?.args ?? {}).filter(([name]) => name.endsWith('_IMAGE')),
    )
    expect(handed.length).toBeGreaterThan(0)
    for (const [name, value] of handed) expect(byOption.exec(value)?.slice(1)).toEqual([name, defaults[name]])
  })
})
