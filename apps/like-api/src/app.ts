import type { Database } from '@likewise/database'
import { type Http, type Logger, type Telemetry, buildHttp, checked, version } from '@likewise/service'
import { Type } from 'typebox'
import { docs, operations } from './docs.ts'
import { type LikeKey, addLike, removeLike } from './like.ts'

const idMax = Number.MAX_SAFE_INTEGER
const UserId = Type.Integer({ minimum: 1, maximum: idMax, description: 'The user.', examples: [1] })
const ProductId = Type.Integer({ minimum: 1, maximum: idMax, description: 'The product.', examples: [100] })
const LikeBody = Type.Object(
  { userId: UserId, productId: ProductId },
  { additionalProperties: false, examples: [{ userId: 1, productId: 100 }] },
)
const likeAnswer = (description: string, example: { liked: boolean; changed: boolean }) =>
  Type.Object(
    {
      userId: UserId,
      productId: ProductId,
      liked: Type.Boolean({ description: 'How it is now.' }),
      changed: Type.Boolean({ description: 'Whether this request changed it.' }),
    },
    { description, examples: [{ userId: 1, productId: 100, ...example }] },
  )
const liked = {
  200: likeAnswer('It was liked already; nothing was written.', { liked: true, changed: false }),
  201: likeAnswer('Liked now: the like and its event are committed.', { liked: true, changed: true }),
}
const unliked = {
  200: likeAnswer('Not liked now; `changed` tells whether it was.', { liked: false, changed: true }),
}
const LikePath = Type.Object({ productId: ProductId, userId: UserId })

/** The write side over REST. No `listen`: tests use `inject`. */
export function buildApp({ db, log, telemetry }: { db: Database; log: Logger; telemetry: Telemetry }): Http {
  const app = buildHttp({
    log,
    telemetry,
    service: 'like-api',
    version,
    ready: async () => ({ database: await checked(db.ping()) }),
    docs,
    endpoints: [
      { method: 'POST', path: '/api/likes', description: 'Like: {"userId":1,"productId":100}' },
      { method: 'PUT', path: '/api/products/{productId}/likes/{userId}', description: 'Like' },
      { method: 'DELETE', path: '/api/products/{productId}/likes/{userId}', description: 'Unlike' },
    ],
  })

  app.post<{ Body: LikeKey }>(
    '/api/likes',
    { schema: { ...operations.likeByBody, body: LikeBody, response: liked } },
    async (request, reply) => {
      const { userId, productId } = request.body
      const changed = await addLike(db, { userId, productId }, traceparentOf(request.headers))
      return reply.code(changed ? 201 : 200).send({ userId, productId, liked: true, changed })
    },
  )

  const path = '/api/products/:productId/likes/:userId'

  const likeSchema = { ...operations.like, params: LikePath, response: liked }
  app.put<{ Params: LikeKey }>(path, { schema: likeSchema }, async (request, reply) => {
    const { userId, productId } = request.params
    const changed = await addLike(db, { userId, productId }, traceparentOf(request.headers))
    return reply.code(changed ? 201 : 200).send({ userId, productId, liked: true, changed })
  })

  const unlikeSchema = { ...operations.unlike, params: LikePath, response: unliked }
  app.delete<{ Params: LikeKey }>(path, { schema: unlikeSchema }, async (request, reply) => {
    const { userId, productId } = request.params
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
