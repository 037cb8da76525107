// Writes the settings table of README.md from the schemas the services read; --check only compares.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './prepare.mjs'

const sources = [
  ['every service', 'libs/service/dist/index.js', 'baseSchema'],
  ['like-api', 'apps/like-api/dist/config.js', 'LikeApiConfig'],
  ['outbox-relay', 'apps/outbox-relay/dist/config.js', 'RelayConfig'],
  ['metrics-consumer', 'apps/metrics-consumer/dist/config.js', 'ConsumerConfig'],
  ['metrics-api', 'apps/metrics-api/dist/config.js', 'MetricsApiConfig'],
  ['likewise (CLI)', 'apps/cli/dist/config.js', 'MigrateConfig'],
  ['likewise (CLI)', 'apps/cli/dist/config.js', 'AccessConfig'],
  ['likewise (CLI)', 'apps/cli/dist/config.js', 'CliConfig'],
  ['likewise (CLI)', 'apps/cli/dist/config.js', 'DeadLettersConfig'],
  ['likewise (CLI)', 'apps/cli/dist/config.js', 'RebuildConfig'],
  ['npm start', 'libs/local-servers/dist/index.js', 'StartConfig'],
]
const begin = '<!-- settings: npm run settings -->'
const end = '<!-- /settings -->'

const { describeConfig } = await import(`${root}/libs/service/dist/index.js`)
const rows = new Map()
for (const [user, path, name] of sources) {
  for (const setting of describeConfig((await import(`${root}/${path}`))[name])) {
    const row = rows.get(setting.name) ?? { ...setting, users: [] }
    if (!row.users.includes(user)) row.users.push(user)
    rows.set(setting.name, row)
  }
}
const unit = ({ name, type }) =>
  name.endsWith('_MS')
    ? 'ms'
    : name.endsWith('_HOURS')
      ? 'hours'
      : name.endsWith('_BYTES')
        ? 'bytes'
        : name.endsWith('_DAYS')
          ? 'days'
          : type
const table = [
  '| variable | default | unit or form | of | meaning |',
  '| --- | --- | --- | --- | --- |',
  ...[...rows.values()].map(
    (row) =>
      `| \`${row.name}\` | ${row.default === undefined ? '–' : `\`${row.default}\``} | ${unit(row).replaceAll('|', '\\|')} | ${row.users.join(', ')} | ${row.description.replace(/\.$/, '')} |`,
  ),
].join('\n')

const file = join(root, 'README.md')
const text = readFileSync(file, 'utf8')
const [from, to] = [text.indexOf(begin), text.indexOf(end)]
if (from < 0 || to < 0) throw new Error('README.md has lost the marks of its settings table.')
const wanted = `${text.slice(0, from)}${begin}\n${table}\n${text.slice(to)}`
if (process.argv.includes('--check')) {
  if (wanted !== text) {
    console.error('The settings table of README.md is not what the schemas say. Run: npm run settings')
    process.exit(1)
  }
} else writeFileSync(file, wanted)
