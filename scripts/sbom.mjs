// npm run sbom [-- APP …]: the software bill of materials of each image, without Docker, into dist/sbom (CycloneDX 1.5).
// node scripts/sbom.mjs --in FOLDER APP: that of what npm has installed there, on the standard output. The image build calls
// it before there is anything but Node, so it needs no package.
//
// `npm sbom` leaves out what only npm's own flags hold (pg-protocol, of all things, with -w and --omit), so the list is read
// from npm's record of what lies in node_modules. No time and no serial number: the same packages give the same bytes.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
/** As the Dockerfile installs them. */
const install = [
  'ci',
  '--omit=dev',
  '--omit=optional',
  '--omit=peer',
  '--ignore-scripts',
  '--no-audit',
  '--no-fund',
]

const args = process.argv.slice(2)
if (args[0] === '--in') process.stdout.write(`${sbomOf(args[1], args[2])}\n`)
else for (const name of args.length > 0 ? args : readdirSync(join(root, 'apps'))) write(name)

function write(name) {
  const image = mkdtempSync(join(tmpdir(), 'likewise-sbom-'))
  for (const manifest of manifests(root)) cpSync(join(root, manifest), join(image, manifest))
  const { status } = spawnSync('npm', [...install, '--loglevel=error', '-w', `@likewise/${name}`], {
    cwd: image,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status !== 0) process.exit(1)
  const text = sbomOf(image, name)
  rmSync(image, { recursive: true, force: true })
  mkdirSync(join(root, 'dist/sbom'), { recursive: true })
  writeFileSync(join(root, 'dist/sbom', `${name}.cdx.json`), `${text}\n`)
  console.log(`dist/sbom/${name}.cdx.json: ${JSON.parse(text).components.length} packages`)
}

function manifests(from) {
  const rooms = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8')).workspaces.flatMap((pattern) =>
    pattern.endsWith('/*')
      ? readdirSync(join(from, pattern.slice(0, -2))).map((room) => join(pattern.slice(0, -2), room))
      : [pattern],
  )
  return [
    'package-lock.json',
    '.npmrc',
    ...['.', ...rooms].map((room) => relative('.', join(room, 'package.json'))),
  ]
}

function sbomOf(image, name) {
  const { version, packages } = JSON.parse(
    readFileSync(join(image, 'node_modules/.package-lock.json'), 'utf8'),
  )
  const entries = Object.entries(packages).filter(([path]) => path.includes('node_modules/'))
  const components = entries
    .map(([path, entry]) => componentOf(path, entry.link ? { ...packages[entry.resolved] } : entry))
    .filter((component) => component.name !== `@likewise/${name}`)
    .sort((a, b) => (a['bom-ref'] < b['bom-ref'] ? -1 : 1))
  return JSON.stringify(
    {
      bomFormat: 'CycloneDX',
      specVersion: '1.5',
      version: 1,
      metadata: {
        component: { type: 'application', 'bom-ref': `likewise/${name}`, name: `likewise/${name}`, version },
      },
      components: components.filter((one, i) => one['bom-ref'] !== components[i - 1]?.['bom-ref']),
    },
    null,
    2,
  )
}

function componentOf(path, { version, license, integrity }) {
  const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`
  return {
    type: 'library',
    'bom-ref': purl,
    name,
    version,
    purl,
    ...(license && {
      licenses: [/^[\w.+-]+$/.test(license) ? { license: { id: license } } : { expression: license }],
    }),
    ...(integrity && { hashes: integrity.split(' ').map(hashOf) }),
  }
}

function hashOf(integrity) {
  const at = integrity.indexOf('-')
  const content = Buffer.from(integrity.slice(at + 1), 'base64').toString('hex')
  return { alg: integrity.slice(0, at).replace('sha', 'SHA-'), content }
}
