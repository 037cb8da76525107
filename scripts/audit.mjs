// npm run audit: known vulnerabilities of all packages, moderate or worse, without those of deploy/audit-exceptions.json.
// A registry that does not answer audits is named, and nothing is audited then; AUDIT_REQUIRED=1 makes that a failure.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { prepare, root } from './prepare.mjs'

if (!process.argv.includes('--check')) await prepare()
const { auditFaults, readAudit } = await import(`${root}/deploy/dist/audit.js`)
const { stdout, stderr } = spawnSync('npm', ['audit', '--json'], { cwd: root, encoding: 'utf8' })
const answer = (() => {
  try {
    return readAudit(stdout)
  } catch {
    return { unavailable: stderr.trim() || 'npm said nothing' }
  }
})()
const exceptions = JSON.parse(readFileSync(join(root, 'deploy/audit-exceptions.json'), 'utf8'))
const faults = auditFaults(answer, exceptions, new Date())
for (const fault of faults) console.error(fault)
if ('unavailable' in answer) {
  console.log(`The registry does not answer audits (${answer.unavailable}): no package was audited.`)
  if (process.env.AUDIT_REQUIRED) process.exit(1)
}
if (faults.length > 0) {
  console.error(
    'Take a version that is mended, or write into deploy/audit-exceptions.json why not, and until when.',
  )
  process.exit(1)
}
