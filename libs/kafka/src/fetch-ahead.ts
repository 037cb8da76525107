/** As kafkajs asks a broker for records. */
export interface FetchRequest {
  readonly topics: readonly {
    readonly topic: string
    readonly partitions: readonly { readonly partition: number; readonly fetchOffset: string }[]
  }[]
}

export interface FetchAnswer {
  readonly responses: readonly {
    readonly topicName: string
    readonly partitions: readonly {
      readonly partition: number
      /** The offset that the partition's next record will get. */
      readonly highWatermark: string
      readonly messages: readonly { readonly offset: bigint | string }[]
    }[]
  }[]
}

/** What was asked longer ago is asked again: the log may have been made anew since, or have lost its end. */
const ageMsMax = 5_000

/**
 * Asks for what comes next while the reader handles what has come. The reader still says each time what it wants: it gets an
 * answer that is on its way only if it is the answer to exactly that question. So nothing can be skipped by it, whatever
 * the reader does in between: a batch that is given back, a seek or a new assignment is another question.
 *
 * It is asked only while more records wait than a fetch brings. A broker answers with the first record that comes: asked
 * ahead of a reader that keeps up, it would bring that one alone, and what comes after it, while the reader is at work,
 * would wait for one turn more.
 *
 * Nor is it asked ahead of a reader that did something else than expected the last time: on the same connection its question
 * waits behind the one that was of no use.
 */
export function buildFetchAhead<Q extends FetchRequest, A extends FetchAnswer>(
  ask: (request: Q) => Promise<A>,
  nowMs: () => number,
): (request: Q) => Promise<A> {
  let expected: string | undefined
  let ahead: { question: string; answer: Promise<A>; askedMs: number; hasFailed: boolean } | undefined

  function askAhead(question: string, request: Q): void {
    const asked = { question, answer: ask(request), askedMs: nowMs(), hasFailed: false }
    asked.answer.catch(() => (asked.hasFailed = true))
    ahead = asked
  }

  /** What failed before anybody waited for it is asked again; after that it is the reader's failure, in its own time. */
  function answerTo(question: string, request: Q): Promise<A> {
    const asked = ahead
    ahead = undefined
    if (asked?.question !== question || asked.hasFailed) return ask(request)
    return nowMs() - asked.askedMs > ageMsMax ? ask(request) : asked.answer
  }

  return async (request) => {
    const question = JSON.stringify(request)
    const isExpected = question === expected
    const answer = await answerTo(question, request)
    const next = nextOf(request, answer)
    expected = JSON.stringify(next)
    // Where nothing came, the reader asks at once.
    if (isExpected && expected !== question && isBehind(next, answer)) askAhead(expected, next)
    return answer
  }
}

/** What a reader asks that has handled the answer. Pure. */
function nextOf<Q extends FetchRequest>(request: Q, { responses }: FetchAnswer): Q {
  const topics = request.topics.map((one) => {
    const answered = responses.find(({ topicName }) => topicName === one.topic)?.partitions
    const partitions = one.partitions.map((asked) => {
      const last = answered?.find(({ partition }) => partition === asked.partition)?.messages.at(-1)
      if (last === undefined || BigInt(last.offset) < BigInt(asked.fetchOffset)) return asked
      return { ...asked, fetchOffset: String(BigInt(last.offset) + 1n) }
    })
    return { ...one, partitions }
  })
  return { ...request, topics }
}

/** Whether records wait behind what a fetch brought. Pure. */
function isBehind({ topics }: FetchRequest, { responses }: FetchAnswer): boolean {
  return topics.some(({ topic, partitions }) => {
    const answered = responses.find(({ topicName }) => topicName === topic)?.partitions ?? []
    const ends = new Map(answered.map(({ partition, highWatermark }) => [partition, BigInt(highWatermark)]))
    return partitions.some(({ partition, fetchOffset }) => (ends.get(partition) ?? 0n) > BigInt(fetchOffset))
  })
}
