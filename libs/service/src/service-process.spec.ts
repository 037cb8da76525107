import { spawn } from 'node:child_process'
import { describe, expect, it } from '@jest/globals'

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

/** Runs a service whose start is the given source, in a process of its own; `steps` answers the lines it logs. */
function runChild(
  start: string,
  onLog: (line: { msg: string }, kill: (signal: NodeJS.Signals) => void) => void = () => {},
) {
  const program = `
    import { Failure, runService } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)}
    import { Type } from ${JSON.stringify(import.meta.resolve('typebox'))}
    await runService({ name: 'child', schema: Type.Object({}), start: async ({ log, defer, stopping }) => { ${start} } })`
  const env = { PATH: process.env.PATH, SHUTDOWN_TIMEOUT_MS: '5000' }
  const child = spawn(process.execPath, ['--import', register, '--input-type=module', '--eval', program], {
    env,
  })
  let stderr = ''
  let out = ''
  const messages: string[] = []
  child.stderr.on('data', (part) => (stderr += String(part)))
  child.stdout.on('data', (part) => {
    const lines = (out + String(part)).split('\n')
    out = lines.pop() ?? ''
    for (const line of lines) {
      const parsed = JSON.parse(line) as { msg: string }
      messages.push(parsed.msg)
      onLog(parsed, (signal) => child.kill(signal))
    }
  })
  return new Promise<{ code: number | null; stderr: string; messages: string[] }>((resolve) => {
    child.on('close', (code) => {
      resolve({ code, stderr, messages })
    })
  })
}

const stay = `const alive = setInterval(() => {}, 1000); defer('timer', () => clearInterval(alive));`

describe('a service in a process of its own', () => {
  it('stops in order at SIGTERM and exits 0', async () => {
    const ended = await runChild(
      `${stay} defer('part', () => log.info('part released'))`,
      ({ msg }, kill) => {
        if (msg === 'started') kill('SIGTERM')
      },
    )
    expect(ended).toEqual({
      code: 0,
      stderr: '',
      messages: ['started', 'stopping', 'part released', 'stopped'],
    })
  })

  it('exits 1 at once at the second signal, though a part hangs', async () => {
    const hang = `defer('part', () => { log.info('part hangs'); return new Promise(() => {}) })`
    const ended = await runChild(`${stay} ${hang}`, ({ msg }, kill) => {
      if (msg === 'started') kill('SIGTERM')
      if (msg === 'part hangs') kill('SIGINT')
    })
    expect(ended.code).toBe(1)
    expect(ended.messages.at(-1)).toBe('second signal, leaving at once')
  })

  it('says a Failure in one sentence on stderr and exits 1', async () => {
    const ended = await runChild(`${stay} throw new Failure('PORT_IN_USE', 'Port 8080 is in use.')`)
    expect(ended).toMatchObject({ code: 1, stderr: 'child: Port 8080 is in use.\n' })
  })

  it('stops and exits 1 when nobody catches an error', async () => {
    const ended = await runChild(`${stay} setTimeout(() => { throw new Error('uncaught') }, 1)`)
    expect(ended).toMatchObject({ code: 1, stderr: '' })
    expect(ended.messages.slice(-2)).toEqual(['a part died, stopping', 'stopped'])
  })
})
