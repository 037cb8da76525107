import { Type } from 'typebox'

const Id = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
const Moment = Type.String({ format: 'date-time' })
const Resolution = Type.Union([Type.Literal('minute'), Type.Literal('hour'), Type.Literal('day')])
const strict = { additionalProperties: false }

export const ProductPath = Type.Object({ productId: Id })

export const MetricsQuery = Type.Object({ asOf: Type.Optional(Moment) }, strict)

export const MetricsAnswer = Type.Object({
  productId: Id,
  likeCount: Type.Integer(),
  updatedAt: Type.Optional(Type.Union([Moment, Type.Null()])),
  asOf: Type.Optional(Moment),
  resolution: Type.Optional(Resolution),
})

/** As many as one answer may list; all callers share one reading of them. */
export const trendingProductsMax = 100

export const TrendingQuery = Type.Object(
  {
    window: Type.Union([Type.Literal('5m'), Type.Literal('1h'), Type.Literal('24h')], { default: '1h' }),
    limit: Type.Integer({ minimum: 1, maximum: trendingProductsMax, default: 10 }),
  },
  strict,
)

export const TrendingAnswer = Type.Object({
  window: Type.String(),
  from: Moment,
  to: Moment,
  products: Type.Array(
    Type.Object({
      productId: Id,
      score: Type.Integer(),
      added: Type.Integer(),
      removed: Type.Integer(),
    }),
  ),
})

const Step = Type.Union([Type.Literal('1m'), Type.Literal('5m'), Type.Literal('1h'), Type.Literal('1d')], {
  default: '1h',
})

export const HistoryQuery = Type.Object({ from: Moment, to: Moment, step: Step }, strict)

export const HistoryAnswer = Type.Object({
  productId: Id,
  from: Moment,
  to: Moment,
  step: Type.String(),
  resolution: Resolution,
  points: Type.Array(
    Type.Object({
      start: Moment,
      added: Type.Integer(),
      removed: Type.Integer(),
      likeCount: Type.Integer(),
    }),
  ),
})
