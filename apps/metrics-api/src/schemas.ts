import { type TProperties, type TSchema, Type } from 'typebox'

const Id = Type.Integer({
  minimum: 1,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'The product.',
  examples: [100],
})
const Moment = (description: string) => Type.String({ format: 'date-time', description })
const Resolution = Type.Union([Type.Literal('minute'), Type.Literal('hour'), Type.Literal('day')], {
  description: 'What the answer is made of: the longest bucket in it.',
})
const strict = { additionalProperties: false }

const CountedThrough = Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
  description:
    'Every event that Kafka held at this time is counted. Null: not known. What has not reached Kafka yet is not spoken of.',
})

const cacheHeaders = {
  etag: Type.String({
    description: 'Changes with the answer, countedThrough left aside. For If-None-Match.',
  }),
  'cache-control': Type.String({ description: 'Keep it, and ask whether it still holds.' }),
  'counted-through': Type.String({ description: 'The same as countedThrough; absent where that is null.' }),
}

/** An answer of counts: with what a client may keep it and ask again. */
function counts<T extends TProperties>(properties: T, description: string, example: unknown) {
  return {
    200: Type.Object(properties, { description, headers: cacheHeaders, examples: [example] }),
    304: Type.Null({
      description: 'What the client has still holds; counted-through is of now.',
      headers: cacheHeaders,
    }),
  }
}

/** Headers that are read, not validated. */
const headers = (described: Record<string, string>): Record<string, TSchema> =>
  Object.fromEntries(
    Object.entries(described).map(([name, description]) => [
      name,
      Type.Optional(Type.String({ description })),
    ]),
  )
export const ifNoneMatch = headers({ 'if-none-match': 'The etag of an answer that the client has.' })
export const lastEventId = headers({ 'last-event-id': 'The id of the last event that the client has seen.' })

export const ProductPath = Type.Object({ productId: Id })

const now = {
  likeCount: 42,
  updatedAt: '2026-11-23T05:45:14.108Z',
  countedThrough: '2026-11-23T05:45:27.761Z',
}

export const MetricsQuery = Type.Object(
  {
    asOf: Type.Optional(
      Type.String({
        format: 'date-time',
        description: 'The count of the events before then; not ahead of now, no leap second.',
      }),
    ),
  },
  strict,
)

export const metricsAnswers = counts(
  {
    productId: Id,
    likeCount: Type.Integer({
      description: 'Below zero for a moment where an unlike overtakes: never clamped.',
    }),
    updatedAt: Type.Optional(
      Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
        description: 'Of its last change; null: nobody ever liked it. Not where asOf is asked.',
      }),
    ),
    asOf: Type.Optional(Moment('The moment asked for, or the nearest one before it that is known exactly.')),
    resolution: Type.Optional(Resolution),
    countedThrough: CountedThrough,
  },
  'The like count of a product.',
  { productId: 100, ...now },
)

/** As many as one question may ask about. */
const idsMax = 100

export const ManyQuery = Type.Object(
  {
    ids: Type.Array(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }), {
      minItems: 1,
      maxItems: idsMax,
      uniqueItems: true,
      description: 'Product ids, separated by commas.',
      examples: [[100, 7]],
    }),
  },
  strict,
)

export const manyAnswers = counts(
  {
    countedThrough: CountedThrough,
    products: Type.Array(
      Type.Object({
        productId: Id,
        likeCount: Type.Integer(),
        updatedAt: Type.Union([Type.String({ format: 'date-time' }), Type.Null()]),
        countedThrough: CountedThrough,
      }),
    ),
  },
  'The like counts, in the order asked. countedThrough of the whole is the earliest of theirs.',
  {
    countedThrough: now.countedThrough,
    products: [
      { productId: 100, ...now },
      { productId: 7, likeCount: 0, updatedAt: null, countedThrough: now.countedThrough },
    ],
  },
)

/** As many as one answer may list; all callers share one reading of them. */
export const trendingProductsMax = 100

export const TrendingQuery = Type.Object(
  {
    window: Type.Union([Type.Literal('5m'), Type.Literal('1h'), Type.Literal('24h')], {
      default: '1h',
      description: 'Its whole minutes and the running one.',
    }),
    limit: Type.Integer({
      minimum: 1,
      maximum: trendingProductsMax,
      default: 10,
      description: 'Products at most.',
    }),
  },
  strict,
)

export const TrendingAnswer = Type.Object(
  {
    window: Type.String(),
    from: Moment('Where the window begins.'),
    to: Moment('Where it ends: now, by the clock of the database.'),
    countedThrough: CountedThrough,
    products: Type.Array(
      Type.Object({
        productId: Id,
        score: Type.Integer({ description: 'Likes minus unlikes in the window.' }),
        added: Type.Integer(),
        removed: Type.Integer(),
      }),
    ),
  },
  {
    description: 'Products that gained, the largest score first, then by product id.',
    headers: { 'cache-control': Type.String({ description: 'How long all callers share this answer.' }) },
    examples: [
      {
        window: '1h',
        from: '2026-11-23T04:45:00.000Z',
        to: '2026-11-23T05:45:27.761Z',
        countedThrough: now.countedThrough,
        products: [{ productId: 7, score: 5, added: 5, removed: 0 }],
      },
    ],
  },
)

const Step = Type.Union([Type.Literal('1m'), Type.Literal('5m'), Type.Literal('1h'), Type.Literal('1d')], {
  default: '1h',
  description: 'How long a point is, as long as the data is known that finely; at most 1,500 points.',
})

const edge = (description: string, example: string) =>
  Type.String({ format: 'date-time', description, examples: [example] })

export const HistoryQuery = Type.Object(
  {
    from: edge('The beginning; rounded down to a whole step.', '2026-11-23T03:00:00Z'),
    to: edge('The end, later than from; rounded up to a whole step.', '2026-11-23T04:00:00Z'),
    step: Step,
  },
  strict,
)

export const historyAnswers = counts(
  {
    productId: Id,
    from: Moment('The beginning of the first point.'),
    to: Moment('The end of the last one.'),
    step: Type.String({
      description: 'As asked, or longer where the data is only there in hours or days.',
    }),
    resolution: Resolution,
    countedThrough: CountedThrough,
    points: Type.Array(
      Type.Object({
        start: Type.String({ format: 'date-time' }),
        added: Type.Integer(),
        removed: Type.Integer(),
        likeCount: Type.Integer({ description: 'At the end of the point.' }),
      }),
    ),
  },
  'A point for every step, zeros where nothing happened.',
  {
    productId: 100,
    from: '2026-11-23T03:00:00.000Z',
    to: '2026-11-23T04:00:00.000Z',
    step: '1h',
    resolution: 'minute',
    countedThrough: now.countedThrough,
    points: [{ start: '2026-11-23T03:00:00.000Z', added: 40, removed: 0, likeCount: 40 }],
  },
)

export const streamAnswers = {
  200: {
    description:
      'Server-sent events: `metrics`, whose data is the like count of a product as …/metrics tells it, now and at each change; ' +
      '`stale`, once, where the database is away; comments as heartbeats.',
    headers: { 'cache-control': Type.String({ description: 'no-store' }) },
    content: {
      'text/event-stream': {
        schema: Type.String({
          examples: [
            `retry: 2000\n\nevent: metrics\nid: 1795412714108011-42\ndata: ${JSON.stringify({ productId: 100, ...now })}\n\n: heartbeat\n\n`,
          ],
        }),
      },
    },
  },
}
