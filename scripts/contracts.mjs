// npm run contracts: writes the documents of what others build on, from what the code itself validates by: OpenAPI of
// like-api and metrics-api, AsyncAPI of the topics, and the types of the client made of the first two. Each is then
// checked against its specification. --check only compares.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import openapiTS, { astToString } from 'openapi-typescript'
import { root } from './prepare.mjs'

const load = (path) => import(`${root}/${path}`)
const { connectDatabase } = await load('libs/database/dist/index.js')
const { buildLogger, buildTelemetry, version } = await load('libs/service/dist/index.js')
const { asyncApi } = await load('libs/events/dist/index.js')

/** Asks the app itself, which is never started: no request reaches its database. */
async function openApiFrom(app, optionsOf) {
  const { buildApp } = await load(`apps/${app}/dist/app.js`)
  const db = connectDatabase({
    ...{ url: 'postgresql://nobody@127.0.0.1:1/none', applicationName: 'likewise-contracts' },
    ...{ poolSizeMax: 1, connectTimeoutMs: 1_000, statementTimeoutMs: 1_000 },
  })
  const log = buildLogger({ service: 'contracts', level: 'warn' })
  const telemetry = buildTelemetry(app)
  const options = await optionsOf({ db, telemetry })
  const http = buildApp({ db, log, telemetry, ...options })
  const { body } = await http.inject('/openapi.json')
  await http.close()
  await options.writer?.stop()
  await db.stop()
  return body
}

const { startWriter } = await load('apps/like-api/dist/writer.js')
const limits = { batchSizeMax: 1, waitingMax: 1, answerWithinMs: 1_000 }
const streams = { tickMs: 250, heartbeatMs: 15_000, stuckMsMax: 30_000, streamsMax: 1 }
const documents = {
  'docs/openapi/like-api.json': await openApiFrom('like-api', ({ db, telemetry }) => ({
    writer: startWriter({ db, telemetry, limits }),
  })),
  'docs/openapi/metrics-api.json': await openApiFrom('metrics-api', () => ({ consumer: 'any', streams })),
  'docs/asyncapi.json': `${JSON.stringify(asyncApi(version), null, 2)}\n`,
}
const typesOf = async (document) =>
  `// Made by npm run contracts from the OpenAPI document.\n${astToString(await openapiTS(JSON.parse(document)))}`
const wanted = {
  ...documents,
  'libs/client/src/generated/like-api.ts': await typesOf(documents['docs/openapi/like-api.json']),
  'libs/client/src/generated/metrics-api.ts': await typesOf(documents['docs/openapi/metrics-api.json']),
}

const config = await createConfig({
  extends: ['recommended'],
  rules: {
    'no-invalid-media-type-examples': { severity: 'error', allowAdditionalProperties: false },
    'no-invalid-schema-examples': 'error',
    'no-invalid-parameter-examples': 'error',
    'operation-description': 'off',
    // A local server is where the documents are tried.
    'no-server-example.com': 'off',
    'security-defined': 'off',
  },
})
let isRight = true
const wrong = (sentence) => {
  console.error(sentence)
  isRight = false
}
for (const [path, source] of Object.entries(documents)) {
  const found = await lintFromString({ source, absoluteRef: join(root, path), config })
  for (const { severity, ruleId, message, location } of found) {
    wrong(`${path}${location[0]?.pointer ?? ''}: ${message} (${ruleId}, ${severity})`)
  }
}
for (const [path, text] of Object.entries(wanted)) {
  const file = join(root, path)
  if (existsSync(file) && readFileSync(file, 'utf8') === text) continue
  if (process.argv.includes('--check')) wrong(`${path} is not what the code says. Run: npm run contracts`)
  else {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
}
process.exit(isRight ? 0 : 1)
