import type { Database } from '@likewise/database'
import {
  type Auth,
  type Guard,
  type Http,
  type Logger,
  type Telemetry,
  buildHttp,
  checked,
  defaultGuard,
  trustedAuth,
  userOf,
  version,
} from '@likewise/service'
import { type Static, Type } from 'typebox'
import { type LikeKey, addLike, removeLike } from './like.ts'

const idMax = Number.MAX_SAFE_INTEGER
const Id = Type.Integer({ minimum: 1, maximum: idMax })
/** userId: whoever sends a token need not say it again. */
const LikeBody = Type.Object({ userId: Type.Optional(Id), productId: Id }, { additionalProperties: false })
const LikeAnswer = Type.Object({ userId: Id, productId: Id, liked: Type.Boolean(), changed: Type.Boolean() })
const answers = { 200: LikeAnswer, 201: LikeAnswer }
const LikePath = Type.Object({ productId: Id, userId: Id })

export interface AppOptions {
  db: Database
  log: Logger
  telemetry: Telemetry
  guard?: Guard
  auth?: Auth
}

/** The write side over REST. No `listen`: tests use `inject`. */
export function buildApp({ db, log, telemetry, guard = defaultGuard, auth = trustedAuth }: AppOptions): Http {
  const app = buildHttp({
    log,
    telemetry,
    service: 'like-api',
    version,
    guard,
    auth,
    ready: async () => {
      const database = checked(db.ping())
      if (!auth.check) return { database: await database }
      const identity = checked(auth.check())
      return { database: await database, identity: await identity }
    },
    endpoints: [
      { method: 'POST', path: '/api/likes', description: 'Like: {"userId":1,"productId":100}' },
      { method: 'PUT', path: '/api/products/{productId}/likes/{userId}', description: 'Like' },
      { method: 'DELETE', path: '/api/products/{productId}/likes/{userId}', description: 'Unlike' },
    ],
  })

  app.post<{ Body: Static<typeof LikeBody> }>(
    '/api/likes',
    { schema: { body: LikeBody, response: answers } },
    async (request, reply) => {
      const { productId } = request.body
      const userId = userOf(request, request.body.userId)
      const changed = await addLike(db, { userId, productId }, traceparentOf(request.headers))
      return reply.code(changed ? 201 : 200).send({ userId, productId, liked: true, changed })
    },
  )

  const path = '/api/products/:productId/likes/:userId'
  const schema = { params: LikePath, response: answers }

  app.put<{ Params: LikeKey }>(path, { schema }, async (request, reply) => {
    const { productId } = request.params
    const userId = userOf(request, request.params.userId)
    const changed = await addLike(db, { userId, productId }, traceparentOf(request.headers))
    return reply.code(changed ? 201 : 200).send({ userId, productId, liked: true, changed })
  })

  app.delete<{ Params: LikeKey }>(path, { schema }, async (request, reply) => {
    const { productId } = request.params
    const userId = userOf(request, request.params.userId)
    const changed = await removeLike(db, { userId, productId }, traceparentOf(request.headers))
    return reply.code(200).send({ userId, productId, liked: false, changed })
  })

  return app
}

const traceparent = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** The caller's trace goes on through the outbox; anything but a W3C traceparent is left out. */
function traceparentOf(headers: Readonly<Record<string, unknown>>): string | null {
  const value = headers['traceparent']
  return typeof value === 'string' && traceparent.test(value) ? value : null
}
