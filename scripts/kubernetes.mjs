// npm run kubernetes: builds each kustomization of deploy/kubernetes and looks at what comes out: Kubernetes' own schemas,
// strictly (kubernetes-validate), the rules of deploy/src/manifest-rules.ts, and whether each service takes its settings.
// Needs openssl, kustomize (or kubectl, or Go to build it) and Python; where one of the latter is not there, it says what it
// leaves out.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { installPython } from './python-tool.mjs'
import { prepare, root } from './prepare.mjs'

const kustomizeModule = 'sigs.k8s.io/kustomize/kustomize/v5@v5.8.1'
const validator = 'kubernetes-validate==1.37.0'
/** The oldest one with all that the manifests use (preStop sleep), and the newest one that the validator knows. */
const versions = ['1.30', '1.37']
/** Those that are whole, services and jobs: their settings must be what the services take. */
const sites = ['overlays/example', 'overlays/example-sasl'].map((folder) => [folder, `${folder}/jobs`])
const folders = ['namespace', 'base', 'jobs', ...sites.flat()]

const kustomize = findKustomize()
if (!kustomize) {
  console.log(
    'npm run kubernetes needs kustomize, kubectl, or Go 1.24 to build the first: nothing was looked at.',
  )
  process.exit(0)
}
await prepare()
const { faultsOf } = await import(`${root}/deploy/dist/manifest-rules.js`)
const { readManifests, environmentOf, imageNameOf } = await import(`${root}/deploy/dist/manifest.js`)
const { readFacts } = await import(`${root}/deploy/dist/facts.js`)
const built = new Map(folders.map((folder) => [folder, build(folder)]))
const faults = [
  ...['base', ...sites.flat()].flatMap((folder) => told(folder, faultsOf(read(folder), readFacts(root)))),
  ...schemaFaults(),
]
for (const site of sites) faults.push(...told(site[0], await settingsFaults(site.flatMap(read))))
for (const fault of faults) console.error(fault)
if (faults.length > 0) process.exit(1)
console.log(`kubernetes: ${folders.length} kustomizations are right`)

function read(folder) {
  return readManifests(built.get(folder))
}

function told(folder, sentences) {
  return sentences.map((sentence) => `${folder}: ${sentence}`)
}

function findKustomize() {
  const works = (command, ...args) => spawnSync(command, args).status === 0
  if (works('kustomize', 'version')) return ['kustomize', 'build']
  if (works('kubectl', 'kustomize', '--help')) return ['kubectl', 'kustomize']
  const folder = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'likewise', 'kustomize-5.8.1')
  const path = join(folder, 'kustomize')
  if (existsSync(path)) return [path, 'build']
  if (!works('go', 'version')) return undefined
  console.log(`building ${kustomizeModule} into ${folder}`)
  const env = { ...process.env, GOBIN: folder }
  const { status } = spawnSync('go', ['install', kustomizeModule], { env, stdio: 'inherit' })
  if (status === 0) return [path, 'build']
  console.log(`go install ${kustomizeModule} failed with code ${status}.`)
  return undefined
}

function build(folder) {
  const [command, ...args] = [...kustomize, join(root, 'deploy/kubernetes', folder)]
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status === 0) return stdout
  console.error(`${folder} cannot be built: ${stderr}`)
  process.exit(1)
}

/** Each container of ours is given a file for each secret, and its schema reads what the manifests say. */
async function settingsFaults(resources) {
  const schemas = {
    'likewise/like-api': ['apps/like-api/dist/config.js', 'LikeApiConfig'],
    'likewise/metrics-api': ['apps/metrics-api/dist/config.js', 'MetricsApiConfig'],
    'likewise/outbox-relay': ['apps/outbox-relay/dist/config.js', 'RelayConfig'],
    'likewise/metrics-consumer': ['apps/metrics-consumer/dist/config.js', 'ConsumerConfig'],
  }
  const { readConfig } = await import(`${root}/libs/service/dist/index.js`)
  const secrets = makeSecrets()
  const found = []
  for (const { metadata, spec } of resources) {
    for (const container of spec?.template?.spec.containers ?? []) {
      const [path, name] = schemas[imageNameOf(container)] ?? []
      if (!path) continue
      const env = Object.entries(environmentOf(container, resources))
      const given = env.map(([variable, value]) => [variable, secrets.fileOf(variable) ?? value])
      try {
        readConfig((await import(`${root}/${path}`))[name], Object.fromEntries(given))
      } catch (error) {
        found.push(`${metadata.name}: ${error.message}`)
      }
    }
  }
  secrets.remove()
  return found
}

/** What a Secret would hold for a variable, as a file. */
function makeSecrets() {
  const folder = mkdtempSync(join(tmpdir(), 'likewise-secrets-'))
  const made = spawnSync('sh', [join(root, 'deploy/tls/make-certificates.sh'), folder], { encoding: 'utf8' })
  if (made.status !== 0)
    throw new Error(`deploy/tls/make-certificates.sh failed, it needs openssl: ${made.stderr}`)
  const [url, word] = [join(folder, 'url'), join(folder, 'word')]
  writeFileSync(url, 'postgres://service:secret@postgres.example:5432/likewise')
  writeFileSync(word, 'word')
  return {
    fileOf(variable) {
      if (!variable.endsWith('_FILE')) return undefined
      if (variable.endsWith('_CA_FILE')) return join(folder, 'ca.crt')
      return variable.endsWith('_URL_FILE') ? url : word
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** Custom resources have no schema there; KEDA's is looked at by deploy/src/kubernetes.spec.ts. */
function schemaFaults() {
  const validate = installPython(validator, 'kubernetes-validate')
  if (!validate) {
    console.log(
      'no python3 (3.10 or newer, with venv): the manifests were not held against the schemas of Kubernetes.',
    )
    return []
  }
  const folder = mkdtempSync(join(tmpdir(), 'likewise-manifests-'))
  const found = []
  for (const [name, text] of built) {
    const known = text.split(/^---$/m).filter((document) => !/^apiVersion: keda\.sh/m.test(document))
    const file = join(folder, `${name.replaceAll('/', '-')}.yaml`)
    writeFileSync(file, known.join('---'))
    for (const version of versions) {
      const args = ['--strict', '--kubernetes-version', version, file]
      const { status, stdout, stderr } = spawnSync(validate, args, { encoding: 'utf8' })
      if (status !== 0) found.push(`${name}, Kubernetes ${version}: ${stdout}${stderr}`)
    }
  }
  rmSync(folder, { recursive: true, force: true })
  return found
}
