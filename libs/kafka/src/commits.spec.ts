import { describe, expect, it } from '@jest/globals'
import { buildCommits } from './commits.ts'

/** A broker that answers when it is told to. */
function broker() {
  const told: string[] = []
  const waiting: { resolve: () => void; reject: (error: unknown) => void }[] = []
  const tell: Parameters<ReturnType<typeof buildCommits>['note']>[2] = (offsets) => {
    const partitions = offsets?.topics[0]?.partitions ?? []
    told.push(partitions.map(({ partition, offset }) => `${String(partition)}:${offset}`).join(' '))
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }))
  }
  const answer = (error?: Error) => {
    const next = waiting.shift()
    if (error) next?.reject(error)
    else next?.resolve()
  }
  return { told, tell, answer }
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0))
async function until(holds: () => boolean): Promise<void> {
  for (let turns = 0; !holds(); turns += 1) {
    if (turns > 200) throw new Error(`Not within ${String(turns)} turns: ${String(holds)}`)
    await turn()
  }
}
const hour = 3_600_000

describe('what is handled', () => {
  it('is told the broker at once, and what comes meanwhile together with the next request', async () => {
    const { told, tell, answer } = broker()
    const commits = buildCommits('t', 0)
    commits.note(1, '10', tell)
    await until(() => told.length === 1)
    commits.note(1, '11', tell)
    commits.note(2, '5', tell)
    commits.note(1, '12', tell)
    await turn()
    expect(told).toEqual(['1:10'])
    answer()
    await until(() => told.length === 2)
    expect(told[1]).toBe('1:12 2:5')
    answer()
    await commits.flush()
    expect(told).toHaveLength(2)
  })

  it('waits until the last request is some time ago, unless there is hurry', async () => {
    const { told, tell, answer } = broker()
    const commits = buildCommits('t', hour)
    commits.note(1, '10', tell)
    await until(() => told.length === 1)
    answer()
    await turn()
    commits.note(1, '11', tell)
    await turn()
    expect(told).toEqual(['1:10'])
    const flushed = commits.flush()
    await until(() => told.length === 2)
    answer()
    await flushed
    expect(told).toEqual(['1:10', '1:11'])
  })

  it('is forgotten with what was under way then: its failure brings nothing back, and is nobody’s', async () => {
    const { told, tell, answer } = broker()
    const commits = buildCommits('t', 0)
    commits.note(1, '10', tell)
    await until(() => told.length === 1)
    commits.forget()
    answer(new Error('another generation'))
    await turn()
    expect(() => commits.throwFailure()).not.toThrow()
    commits.note(2, '5', tell)
    await until(() => told.length === 2)
    answer()
    await commits.flush()
    expect(told).toEqual(['1:10', '2:5'])
  })

  it('is told again after a failure, but for what has moved on, and the failure is thrown once', async () => {
    const { told, tell, answer } = broker()
    const commits = buildCommits('t', 0)
    commits.note(1, '10', tell)
    await until(() => told.length === 1)
    answer()
    await turn()
    commits.note(1, '11', tell)
    commits.note(2, '5', tell)
    await until(() => told.length === 2)
    commits.note(1, '12', tell)
    answer(new Error('no broker'))
    await turn()
    expect(() => commits.throwFailure()).toThrow('no broker')
    expect(() => commits.throwFailure()).not.toThrow()
    commits.note(3, '7', tell)
    await until(() => told.length === 3)
    expect(told[2]?.split(' ').sort()).toEqual(['1:12', '2:5', '3:7'])
    answer()
    await commits.flush()
  })

  it('is forgotten where another member may have it', async () => {
    const { told, tell, answer } = broker()
    const commits = buildCommits('t', hour)
    commits.note(1, '10', tell)
    await until(() => told.length === 1)
    answer()
    await turn()
    commits.note(1, '11', tell)
    commits.forget()
    await commits.flush()
    expect(told).toEqual(['1:10'])
  })
})
