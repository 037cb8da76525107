export interface LikeKey {
  readonly userId: number
  readonly productId: number
}

/** A like or an unlike that somebody asked for. */
export interface Write extends LikeKey {
  readonly liked: boolean
  /** The caller's trace. */
  readonly traceparent?: string | undefined
  readonly idempotencyKey?: string | undefined
}

/** What became of it: whether the like was changed by it, or that its Idempotency-Key stands for another like. */
export type WriteResult = { readonly changed: boolean } | 'key reused'
