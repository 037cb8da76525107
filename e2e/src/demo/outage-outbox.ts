import { sql } from '@likewise/database'
import type { DemoContext } from './context.ts'
import type { Table } from './story.ts'
import { lastRead } from './wait.ts'

export interface WaitingEvent {
  readonly seq: bigint
  readonly productId: string
  readonly status: string
  readonly retryCount: number
  readonly lastError: string | null
}

// A second attempt comes within the relay's first pauses (0.1 s, doubling), unless a send runs into its limit of 5 s.
const withinMs = 20_000
const attemptsMin = 2

/** The outbox rows of these products, once the relay has tried each more than once. */
export async function readWaiting(
  { catalog, signal }: DemoContext,
  products: readonly number[],
): Promise<WaitingEvent[]> {
  return lastRead(
    () =>
      catalog.query<WaitingEvent>(sql`
        select seq, aggregate_id as "productId", status, retry_count as "retryCount", last_error as "lastError"
        from catalog.outbox_status
        where aggregate_id = any(${products.map(String)}::text[])
        order by seq`),
    (rows) => rows.length === products.length && rows.every(hasFailed),
    { withinMs, signal },
  )
}

export const hasFailed = ({ status, retryCount }: WaitingEvent): boolean =>
  status === 'FAILED' && retryCount >= attemptsMin

export function tableOfWaiting(rows: readonly WaitingEvent[]): Table {
  return {
    head: ['seq', 'product_id', 'status', 'retry_count', 'last_error'],
    rows: rows.map(({ seq, productId, status, retryCount, lastError }) => [
      String(seq),
      productId,
      status,
      String(retryCount),
      lastError ?? '',
    ]),
  }
}
