import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils'
import type { SchemaEngine } from '@prisma/schema-engine-wasm/schema_engine_bg'
import type { MigrationAdapter } from './migration-adapter.ts'

type EngineModule = typeof import('@prisma/schema-engine-wasm/schema_engine_bg')

// Neither the language's library nor Node's types declare this global.
declare const WebAssembly: {
  instantiate: (
    bytes: Uint8Array,
    imports: Record<string, unknown>,
  ) => Promise<{ instance: { exports: { __wbindgen_start: () => void } } }>
}

let loading: Promise<EngineModule> | undefined

/**
 * Prisma's own migration engine (same rows and checksums as `prisma migrate deploy`) as WebAssembly: nothing to
 * download, and a service that never migrates never loads its 5 MB.
 */
export async function openSchemaEngine(adapter: MigrationAdapter): Promise<SchemaEngine> {
  const { SchemaEngine } = await (loading ??= loadEngine())
  return SchemaEngine.new({ datamodels: undefined }, ignoreLog, bindMigrationAwareSqlAdapterFactory(adapter))
}

// By hand, since Node 20 imports `.wasm` only behind a flag, and jest not at all.
async function loadEngine(): Promise<EngineModule> {
  const script = createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm/schema_engine_bg')
  const [bytes, engine] = await Promise.all([
    readFile(script.replace(/\.js$/, '.wasm')),
    import('@prisma/schema-engine-wasm/schema_engine_bg'),
  ])
  nameThePanic()
  const imports = { './schema_engine_bg.js': withQuietTimers(engine) }
  const { instance } = await WebAssembly.instantiate(bytes, imports)
  engine.__wbg_set_wasm(instance.exports)
  instance.exports.__wbindgen_start()
  return engine
}

// The engine never clears the 10 s timer of its advisory lock; it would hold the process for as long.
function withQuietTimers(engine: EngineModule): Record<string, unknown> {
  const quiet = (callback: () => void, delayMs: number): NodeJS.Timeout =>
    setTimeout(callback, delayMs >>> 0).unref()
  return Object.fromEntries(
    Object.entries(engine).map(([name, value]) => [
      name,
      name.startsWith('__wbg_setTimeout') ? quiet : value,
    ]),
  )
}

// Without this record, which the Prisma client sets too, a panic is reported as a TypeError about it.
function nameThePanic(): void {
  const globals = globalThis as { PRISMA_WASM_PANIC_REGISTRY?: { set_message: (message: string) => void } }
  globals.PRISMA_WASM_PANIC_REGISTRY ??= {
    set_message: (message) => {
      throw new Error(`The schema engine panicked: ${message}`)
    },
  }
}

function ignoreLog(): void {
  // Errors reach us as rejections; the rest is the engine's own tracing.
}
