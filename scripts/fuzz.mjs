// npm run fuzz: requests that nobody thought of, against like-api and metrics-api as processes, made by schemathesis from
// the OpenAPI documents that they serve. Starts its own PostgreSQL and Kafka. Fails on an answer that is a 5xx, that the
// document does not know (status, content type, headers, shape), or that takes what the document forbids.
//   FUZZ_EXAMPLES (100)   requests of each operation and phase, at most
//   FUZZ_SEED (1)        the same seed makes the same requests
// Needs Python 3.10 or newer: schemathesis is installed once into a cache folder. Without Python it says so and ends with 0.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { prepare, root } from './prepare.mjs'
import { installPython } from './python-tool.mjs'

const schemathesis = 'schemathesis==4.32.5'
/** positive_data_acceptance is left out: a date ahead of the clock, or a range that is too long, fits its schema and is refused. */
const checks = [
  ...['not_a_server_error', 'status_code_conformance', 'content_type_conformance'],
  ...['response_headers_conformance', 'response_schema_conformance', 'negative_data_rejection'],
]

const st = installPython(schemathesis, 'st')
if (!st) {
  console.log('npm run fuzz needs python3 (3.10 or newer, with venv): nothing was fuzzed.')
  process.exit(0)
}
await prepare()
const { startSystem } = await import(`${root}/e2e/dist/system.js`)
const system = await startSystem({ likeApis: 1, relays: 1, consumers: 1 })
const report = mkdtempSync(join(tmpdir(), 'likewise-fuzz-'))
let isRight = true
try {
  for (const url of [system.apis[0], system.metricsApi]) {
    const args = [
      ...['run', `${url}/openapi.json`, '--url', url, '--checks', checks.join(',')],
      ...['--phases', 'examples,coverage,fuzzing', '--max-examples', process.env.FUZZ_EXAMPLES || '100'],
      ...['--seed', process.env.FUZZ_SEED || '1', '--request-timeout', '10'],
      ...['--continue-on-failure', '--no-color', '--warnings', 'off'],
      // A stream has no end to wait for.
      ...['--exclude-operation-id', 'streamMetrics'],
    ]
    console.log(`\n== ${url}`)
    const child = spawn(st, args, { cwd: report, stdio: ['ignore', 'inherit', 'inherit'] })
    const code = await new Promise((resolve) => child.on('close', resolve))
    if (code !== 0) isRight = false
  }
} finally {
  await system.stop()
  rmSync(report, { recursive: true, force: true })
}
process.exit(isRight ? 0 : 1)
