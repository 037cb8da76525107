import { Failure, type Http, toProblem, userOf } from '@likewise/service'
import { Type } from 'typebox'
import { operations } from './docs.ts'
import { LikeAsked, ProductId, UserId, traceparentOf } from './like-routes.ts'
import type { LikeKey, WriteResult } from './write.ts'
import type { Writer } from './writer.ts'

const itemsMax = 500
/** 500 items of the largest ids are 28 KB. */
const bodyBytesMax = 64 * 1024

const LikeBatch = Type.Object(
  { items: Type.Array(LikeAsked, { minItems: 1, maxItems: itemsMax }) },
  {
    additionalProperties: false,
    examples: [
      {
        items: [
          { userId: 1, productId: 100 },
          { userId: 2, productId: 100 },
        ],
      },
    ],
  },
)
const Refusal = Type.Object({ type: Type.String(), title: Type.String(), detail: Type.String() })
const ItemAnswer = Type.Object({
  userId: UserId,
  productId: ProductId,
  status: Type.Integer({ description: 'As the answer to this like alone: 201, 200, 500 or 503.' }),
  changed: Type.Optional(Type.Boolean()),
  problem: Type.Optional(Refusal),
})
type ItemAnswer = Type.Static<typeof ItemAnswer>
const BatchAnswer = Type.Object(
  { items: Type.Array(ItemAnswer) },
  { description: 'What became of each like, in the order sent.' },
)

/** Many likes at a time, for importers: each is carried out, and answered for, by itself. */
export function addBatchRoute(app: Http, writer: Writer): void {
  app.post<{ Body: { items: LikeAsked[] } }>(
    '/api/likes/batch',
    {
      bodyLimit: bodyBytesMax,
      schema: { ...operations.addLikes, body: LikeBatch, response: { 200: BatchAnswer } },
    },
    async (request) => {
      const traceparent = traceparentOf(request.headers)
      const items = request.body.items.map(({ userId, productId }) => ({
        userId: userOf(request, userId),
        productId,
      }))
      const results = await writer.writeAll(items.map((item) => ({ ...item, liked: true, traceparent })))
      return { items: answersOf(items, results, request) }
    },
  )
}

/** Where nothing is known to be done at all, and all of it may be tried again, that is the answer. */
function answersOf(
  items: readonly LikeKey[],
  results: readonly PromiseSettledResult<WriteResult>[],
  { log, id: reqId }: { log: Pick<Http['log'], 'error'>; id: string },
): ItemAnswer[] {
  const reasons = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as unknown] : [],
  )
  if (reasons.length === results.length && reasons.every(isRetryable)) {
    throw reasons.find(isUnknown) ?? reasons[0]
  }
  const bug = reasons.find((reason) => toProblem(reason).status === 500)
  if (bug !== undefined) log.error({ err: bug, reqId }, 'likes of a batch failed')
  return items.map(({ userId, productId }, i) => {
    const result = results[i]
    if (result?.status === 'fulfilled' && result.value !== 'key reused') {
      const { changed } = result.value
      return { userId, productId, status: changed ? 201 : 200, changed }
    }
    const { status, ...problem } = toProblem(result?.status === 'rejected' ? result.reason : undefined)
    return { userId, productId, status, problem }
  })
}

const isRetryable = (error: unknown): boolean => error instanceof Failure && error.retryable
/** Of some it is not known: then it is not known of all. */
const isUnknown = (error: unknown): boolean =>
  error instanceof Failure && error.code === 'DATABASE_UNAVAILABLE'
