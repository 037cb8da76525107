// npm run licences: writes docs/licences.md from package-lock.json; --check compares it. Both fail on a licence that is not on
// the list of deploy/licences.json.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { prepare, root } from './prepare.mjs'

const isCheck = process.argv.includes('--check')
if (!isCheck) await prepare()
const { licenceFaults, licencePage, packagesOf } = await import(`${root}/deploy/dist/licences.js`)
const readJson = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'))
const rules = readJson('deploy/licences.json')
const apps = readdirSync(join(root, 'apps')).map((app) => `apps/${app}`)
const packages = packagesOf(readJson('package-lock.json').packages, rules, apps)

const faults = licenceFaults([...packages.images, ...packages.tools], rules)
for (const fault of faults) console.error(fault)
if (faults.length > 0) {
  console.error('Look at the licence; then add it to deploy/licences.json, or do without the package.')
  process.exit(1)
}
const file = join(root, 'docs/licences.md')
const page = licencePage(packages, rules)
if (!isCheck) writeFileSync(file, page)
else if (readFileSync(file, 'utf8') !== page) {
  console.error('docs/licences.md is not what package-lock.json says. Run: npm run licences')
  process.exit(1)
}
