import { describe, expect, it } from '@jest/globals'
import { buildGate } from './gate.ts'

/** Work that tells what is under way with it, and ends when told. */
function workshop() {
  const now = new Set<string>()
  const seen: string[] = []
  const ends = new Map<string, () => void>()
  return {
    seen,
    end: (name: string) => ends.get(name)?.(),
    work: (name: string) => async () => {
      now.add(name)
      seen.push([...now].join('+'))
      await new Promise<void>((resolve) => ends.set(name, resolve))
      now.delete(name)
    },
  }
}
const settle = () => new Promise((resolve) => setImmediate(resolve))

describe('a gate', () => {
  it('lets work run side by side, but one thing alone waits for them, and what comes later waits for it', async () => {
    const { seen, end, work } = workshop()
    const gate = buildGate()
    const first = [gate.together(work('a')), gate.together(work('b'))]
    await settle()
    const later = [gate.alone(work('x')), gate.together(work('c')), gate.alone(work('y'))]
    await settle()
    expect(seen).toEqual(['a', 'a+b'])
    end('a')
    await settle()
    expect(seen).toHaveLength(2)
    end('b')
    await settle()
    expect(seen.at(-1)).toBe('x')
    end('x')
    await settle()
    expect(seen.at(-1)).toBe('y')
    end('y')
    await settle()
    expect(seen).toEqual(['a', 'a+b', 'x', 'y', 'c'])
    end('c')
    await Promise.all([...first, ...later])
  })

  it('is not shut by work that fails', async () => {
    const gate = buildGate()
    const fail = () => Promise.reject(new Error('failed'))
    await expect(gate.together(fail)).rejects.toThrow('failed')
    await expect(gate.alone(fail)).rejects.toThrow('failed')
    expect(await gate.together(() => Promise.resolve(1))).toBe(1)
    expect(await gate.alone(() => Promise.resolve(2))).toBe(2)
  })
})
