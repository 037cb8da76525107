// The server of like-api with the same route, schemas and payload, and nothing behind it: what HTTP alone can do.
import { buildHttp, buildLogger, buildTelemetry, defaultGuard, listen, version } from '@likewise/service'

const log = buildLogger({ service: 'bare-api', level: 'info' })
const app = buildHttp({
  log,
  telemetry: buildTelemetry('bare-api'),
  service: 'bare-api',
  version,
  ready: () => Promise.resolve({}),
  guard: defaultGuard,
})
const id = { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER }
const like = { userId: id, productId: id }
const flags = { liked: { type: 'boolean' }, changed: { type: 'boolean' } }
const answer = {
  type: 'object',
  properties: { ...like, ...flags },
  required: ['userId', 'productId', 'liked', 'changed'],
}
const body = {
  type: 'object',
  properties: like,
  required: ['userId', 'productId'],
  additionalProperties: false,
}
const key = { 'idempotency-key': { type: 'string', pattern: '^[!-~]+$', maxLength: 258 } }
const headers = { type: 'object', properties: key }
app.post<{ Body: { userId: number; productId: number } }>(
  '/api/likes',
  { schema: { body, headers, response: { 200: answer, 201: answer } } },
  async ({ body: { userId, productId } }, reply) =>
    reply.code(201).send({ userId, productId, liked: true, changed: true }),
)
const port = Number(process.argv[2])
await listen(app, { host: '127.0.0.1', port, variable: 'the port' })
