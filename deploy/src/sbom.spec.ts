import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from '@jest/globals'

const script = fileURLToPath(new URL('../../scripts/sbom.mjs', import.meta.url))

it('lists every package that lies in an image, with licence and hash, and the same each time', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'likewise-sbom-'))
  try {
    await mkdir(join(folder, 'node_modules'))
    await writeFile(
      join(folder, 'node_modules/.package-lock.json'),
      JSON.stringify({
        version: '0.1.0',
        packages: {
          'apps/like-api': { version: '0.1.0', license: 'MIT' },
          'libs/events': { version: '0.1.0', license: 'MIT' },
          'node_modules/@likewise/events': { resolved: 'libs/events', link: true },
          'node_modules/@likewise/like-api': { resolved: 'apps/like-api', link: true },
          'node_modules/web': { version: '1.0.0', license: '(MIT OR ISC)', integrity: 'sha512-AAEC' },
          'node_modules/web/node_modules/log': { version: '2.0.0' },
          'node_modules/other/node_modules/log': { version: '2.0.0' },
        },
      }),
    )
    const make = async () =>
      (await promisify(execFile)(process.execPath, [script, '--in', folder, 'like-api'])).stdout
    const text = await make()
    expect(JSON.parse(text)).toEqual({
      bomFormat: 'CycloneDX',
      specVersion: '1.5',
      version: 1,
      metadata: {
        component: {
          type: 'application',
          'bom-ref': 'likewise/like-api',
          name: 'likewise/like-api',
          version: '0.1.0',
        },
      },
      components: [
        {
          type: 'library',
          'bom-ref': 'pkg:npm/%40likewise/events@0.1.0',
          name: '@likewise/events',
          version: '0.1.0',
          purl: 'pkg:npm/%40likewise/events@0.1.0',
          licenses: [{ license: { id: 'MIT' } }],
        },
        {
          type: 'library',
          'bom-ref': 'pkg:npm/log@2.0.0',
          name: 'log',
          version: '2.0.0',
          purl: 'pkg:npm/log@2.0.0',
        },
        {
          type: 'library',
          'bom-ref': 'pkg:npm/web@1.0.0',
          name: 'web',
          version: '1.0.0',
          purl: 'pkg:npm/web@1.0.0',
          licenses: [{ expression: '(MIT OR ISC)' }],
          hashes: [{ alg: 'SHA-512', content: '000102' }],
        },
      ],
    })
    expect(await make()).toBe(text)
  } finally {
    await rm(folder, { recursive: true })
  }
})
