import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { encode } from '@likewise/events'
import type { InboxRecord } from './judgement.ts'

export const dayMs = 86_400_000
export const horizon = { dedupHorizonMs: 30 * dayMs, futureMaxMs: dayMs }

/** A UUID v7 made at that time. */
export function idAt(ms: number): string {
  const hex = Math.floor(ms).toString(16).padStart(12, '0')
  const random = randomBytes(8).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${random.slice(0, 3)}-9${random.slice(3, 6)}-${random.slice(4, 16)}`
}

/** A like of `productId`; its user is its offset + 1, so that it shows which were applied. */
export function likeRecord(offset: number, productId = 100, id = idAt(Date.now())): InboxRecord {
  const data = { userId: offset + 1, productId, createdAt: '2026-11-22T09:14:05.402817Z' }
  const about = { type: 'catalog.like.added.v1', source: '/test', time: data.createdAt } as const
  const { key, value, headers } = encode({ ...about, id, data })
  return { offset: BigInt(offset), key, value: Buffer.from(value), headers, timeMs: Date.now() }
}

export const idOf = (record: InboxRecord): string => String(record.headers['ce_id'])

/** Node 20 runs no TypeScript; this loader strips the types with the compiler jest uses. */
const loader = `
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import swc from ${JSON.stringify(import.meta.resolve('@swc/core'))}
export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context)
  const { code } = swc.transformSync(await readFile(fileURLToPath(url), 'utf8'), {
    swcrc: false, module: { type: 'es6' }, jsc: { target: 'es2023', parser: { syntax: 'typescript' } },
  })
  return { format: 'module', source: code, shortCircuit: true }
}`
const dataUrl = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`
const register = dataUrl(
  `import { register } from 'node:module'; register(${JSON.stringify(dataUrl(loader))})`,
)

export interface ChildEnd {
  code: number | null
  signal: NodeJS.Signals | null
  out: string
}

/** Runs a program of this package in a process of its own, from its sources. `onOut` gets what it writes, and its pid. */
export function runChild(program: string, onOut: (out: string, pid: number) => void = () => undefined) {
  const args = [
    '--conditions=@likewise/source',
    '--import',
    register,
    '--input-type=module',
    '--eval',
    program,
  ]
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env['PATH'] ?? '' },
    cwd: import.meta.dirname,
  })
  let out = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (part) => {
      out += String(part)
      onOut(out, child.pid ?? 0)
    })
  }
  return new Promise<ChildEnd>((resolve) => {
    child.on('close', (code, signal) => {
      resolve({ code, signal, out })
    })
  })
}
