import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { sql } from './sql.ts'
import { streamRows } from './stream-rows.ts'
import { type TestDatabase, freshDatabase } from './testing.ts'

let test: TestDatabase
beforeAll(async () => {
  test = await freshDatabase('stream')
})
afterAll(() => test.drop())

const numbers = (from: number, to: number) =>
  sql`select n from generate_series(${from}::int, ${to}::int) as n order by n`

describe('rows as a stream', () => {
  it('come in order, a page at a time, all of them', async () => {
    for (const count of [0, 1, 99, 100, 101, 250]) {
      const pages = await test.db.tx(async (tx) => {
        const read: number[][] = []
        for await (const page of streamRows<{ n: number }>(tx, numbers(1, count), 100))
          read.push(page.map(({ n }) => n))
        return read
      })
      expect(pages.every((page) => page.length > 0 && page.length <= 100)).toBe(true)
      expect(pages.flat()).toEqual(Array.from({ length: count }, (_, i) => i + 1))
    }
  })

  it('can be read from two statements of a transaction in turns, as of one moment', async () => {
    await test.db.execute(sql`create table seen (n int)`)
    await test.db.execute(sql`insert into seen select generate_series(1, 250)`)
    const sums = await test.db.tx(
      async (tx) => {
        const one = streamRows<{ n: number }>(tx, sql`select n from seen order by n`, 100)
        const other = streamRows<{ n: number }>(tx, sql`select -n as n from seen order by n desc`, 60)
        let sum = 0
        for (let open = true; open;) {
          const [a, b] = [await one.next(), await other.next()]
          await test.db.execute(sql`insert into seen values (1000)`)
          open = !(a.done === true && b.done === true)
          for (const page of [a, b]) if (!page.done) for (const { n } of page.value) sum += n
        }
        return sum
      },
      { isolation: 'RepeatableRead' },
    )
    expect(sums).toBe(0)
  })
})
