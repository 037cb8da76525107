import { Type, type Static } from 'typebox'
import { timestampPattern } from './timestamp.ts'
import { uuidV7Pattern } from './uuid-v7.ts'

/** What the events are about, in the words of the outbox's columns. */
export const aggregateType = 'product'

/** Types that begin so are ours to understand; any other type on the topic is somebody else's. */
export const likeFamily = 'catalog.like.'

/** W3C Trace Context: version ff and all-zero ids are forbidden. */
export const traceparentPattern =
  '^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$'

const Timestamp = Type.String({ pattern: timestampPattern })

/** Past 2^53 − 1 a JSON number read by JavaScript is silently another number. */
const Id = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })

const LikeData = Type.Object({ userId: Id, productId: Id, createdAt: Timestamp })

const attributes = {
  id: Type.String({ pattern: uuidV7Pattern }),
  /** CloudEvents forbids control characters in attributes, and PostgreSQL cannot keep a NUL. */
  source: Type.String({ minLength: 1, maxLength: 512, pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$' }),
  time: Timestamp,
  /** The outbox row's seq. It need not rise within a key (promise I4), so it orders nothing. */
  sequence: Type.Optional(Type.String({ pattern: '^[0-9]{1,19}$' })),
  traceparent: Type.Optional(Type.String({ pattern: traceparentPattern })),
  data: LikeData,
}

export const LikeAdded = Type.Object({ type: Type.Literal('catalog.like.added.v1'), ...attributes })
export type LikeAdded = Static<typeof LikeAdded>

export const LikeRemoved = Type.Object({ type: Type.Literal('catalog.like.removed.v1'), ...attributes })
export type LikeRemoved = Static<typeof LikeRemoved>

/** Every event of the family, told apart by its type. This is the one source of the contract's shape. */
export const LikeEvent = Type.Union([LikeAdded, LikeRemoved])
export type LikeEvent = Static<typeof LikeEvent>

/** The product: its events stay in order, those of two products need not. */
export function partitionKeyOf(event: LikeEvent): string {
  return String(event.data.productId)
}
