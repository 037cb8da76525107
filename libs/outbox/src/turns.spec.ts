import { describe, expect, it } from '@jest/globals'
import { buildTurns } from './turns.ts'

describe('turns', () => {
  it('lets so many in, and the others in the order of asking, each for one that ends', async () => {
    const turns = buildTurns(2, 60_000)
    const [first, second] = [await turns.take(), await turns.take()]
    const entered: string[] = []
    const waiting = ['third', 'fourth'].map(async (name) => {
      const turn = await turns.take()
      entered.push(name)
      return turn
    })
    await Promise.resolve()
    expect([entered, turns.areWanted()]).toEqual([[], true])
    second.end()
    await waiting[0]
    expect([entered, turns.areWanted()]).toEqual([['third'], true])
    first.end()
    await waiting[1]
    expect([entered, turns.areWanted()]).toEqual([['third', 'fourth'], false])
    for (const turn of await Promise.all(waiting)) turn.end()
  })

  it('ends one that takes too long', async () => {
    const turns = buildTurns(1, 20)
    await turns.take()
    const next = await turns.take()
    expect(turns.areWanted()).toBe(false)
    next.end()
  })

  it('counts a turn that ends twice once', async () => {
    const turns = buildTurns(1, 60_000)
    const first = await turns.take()
    first.end()
    first.end()
    const second = await turns.take()
    const last = turns.take()
    expect(turns.areWanted()).toBe(true)
    expect(await Promise.race([last, Promise.resolve('waits')])).toBe('waits')
    second.end()
    ;(await last).end()
  })
})
