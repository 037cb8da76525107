import type { Database } from '@likewise/database'
import { Failure, type Http, userOf } from '@likewise/service'
import { Type } from 'typebox'
import { operations } from './docs.ts'
import { readLike } from './read-like.ts'
import type { LikeKey, Write } from './write.ts'
import type { Writer } from './writer.ts'

const idMax = Number.MAX_SAFE_INTEGER
export const UserId = Type.Integer({ minimum: 1, maximum: idMax, description: 'The user.', examples: [1] })
export const ProductId = Type.Integer({
  minimum: 1,
  maximum: idMax,
  description: 'The product.',
  examples: [100],
})
/** Whoever sends a token need not say who it is. */
export const LikeAsked = Type.Object(
  { userId: Type.Optional(UserId), productId: ProductId },
  { additionalProperties: false, examples: [{ userId: 1, productId: 100 }] },
)
export type LikeAsked = Type.Static<typeof LikeAsked>
const likeAnswer = (description: string) =>
  Type.Object(
    {
      userId: UserId,
      productId: ProductId,
      liked: Type.Boolean({ description: 'How it is now.' }),
      changed: Type.Boolean({ description: 'Whether this request changed it.' }),
    },
    { description },
  )
type LikeAnswer = Type.Static<ReturnType<typeof likeAnswer>>
const LikeState = Type.Object(
  { userId: UserId, productId: ProductId, liked: Type.Boolean() },
  { description: 'Whether the like is there now.' },
)
const liked = {
  200: likeAnswer('It was liked already: nothing was written.'),
  201: likeAnswer('Liked now: the like and its event are committed.'),
}
const unliked = { 200: likeAnswer('Not liked now; `changed` tells whether it was.') }
const LikePath = Type.Object({ productId: ProductId, userId: UserId })

/** A text of RFC 8941 in quotes, as the draft has it, or the same text without, as most clients send it. */
const IdempotencyKey = Type.String({
  pattern: '^("([ !#-\\[\\]-~]|\\\\["\\\\])+"|[!#-~][!-~]*)$',
  maxLength: 258,
  description: 'The same request with the same key within 24 hours has the same answer, and one effect.',
})
const LikeHeaders = Type.Object({ 'idempotency-key': Type.Optional(IdempotencyKey) })
type LikeHeaders = Type.Static<typeof LikeHeaders>

/** One like at a time. */
export function addLikeRoutes(app: Http, { db, writer }: { db: Database; writer: Writer }): void {
  const write = async (asked: Write): Promise<{ status: 200 | 201; answer: LikeAnswer }> => {
    const { userId, productId, liked } = asked
    const result = await writer.write(asked)
    if (result === 'key reused') throw keyReused()
    const { changed } = result
    return { status: liked && changed ? 201 : 200, answer: { userId, productId, liked, changed } }
  }

  app.post<{ Body: LikeAsked; Headers: LikeHeaders }>(
    '/api/likes',
    { schema: { ...operations.addLike, body: LikeAsked, headers: LikeHeaders, response: liked } },
    async (request, reply) => {
      const { body, headers } = request
      const [userId, productId] = [userOf(request, body.userId), body.productId]
      const idempotencyKey = unquoted(headers['idempotency-key'])
      const traceparent = traceparentOf(headers)
      const { status, answer } = await write({ userId, productId, liked: true, traceparent, idempotencyKey })
      return reply.code(status).send(answer)
    },
  )

  const path = '/api/products/:productId/likes/:userId'
  const schemas = {
    PUT: { ...operations.putLike, params: LikePath, response: liked },
    DELETE: { ...operations.removeLike, params: LikePath, response: unliked },
  }
  for (const method of ['PUT', 'DELETE'] as const) {
    app.route<{ Params: LikeKey }>({
      method,
      url: path,
      schema: schemas[method],
      handler: async (request, reply) => {
        const { productId } = request.params
        const userId = userOf(request, request.params.userId)
        const traceparent = traceparentOf(request.headers)
        const { status, answer } = await write({ userId, productId, liked: method === 'PUT', traceparent })
        return reply.code(status).send(answer)
      },
    })
  }

  app.get<{ Params: LikeKey }>(
    path,
    { schema: { ...operations.readLike, params: LikePath, response: { 200: LikeState } } },
    async (request) => {
      const { productId } = request.params
      const userId = userOf(request, request.params.userId)
      return { userId, productId, liked: await readLike(db, { userId, productId }) }
    },
  )
}

const keyReused = () =>
  new Failure('IDEMPOTENCY_KEY_REUSED', 'This Idempotency-Key stands for another like; send a new one.')

function unquoted(key: string | undefined): string | undefined {
  return key?.startsWith('"') ? key.slice(1, -1).replace(/\\(.)/g, '$1') : key
}

const traceparent = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** The caller's trace goes on through the outbox; anything but a W3C traceparent is left out. */
export function traceparentOf(headers: Readonly<Record<string, unknown>>): string | undefined {
  const value = headers['traceparent']
  return typeof value === 'string' && traceparent.test(value) ? value : undefined
}
