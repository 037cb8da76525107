import { type Verdict, isRight } from '../checker/verdict.ts'
import { check } from '../checker/check.ts'
import type { History } from '../checker/history.ts'
import { sql } from '@likewise/database'
import { pause } from '@likewise/service'
import { ownKafka, ownKafkaOnSmallDisk, ownPostgres, ownPostgresOnSmallDisk } from '../faults/own-servers.ts'
import { type Clients, startClients } from './clients.ts'
import { injections } from './inject.ts'
import type { Heal } from './injection.ts'
import { type Fault, type FaultKind, type Random, instancesOf, nameOf } from './plan.ts'
import { readHistory, readRestless } from './read-history.ts'
import { type Stage, openStage } from './stage.ts'

export interface Injected {
  readonly fault: Fault
  /** From its end until a like made after it was counted; absent where that took longer than the bound. */
  recoveredMs?: number
  /** Why it was not done at all: another fault was in its way. */
  missed?: string
  /** What was in the way of its healing until the bound; null where nothing was. */
  unhealed?: string | null
}

export interface ChaosResult {
  readonly injected: readonly Injected[]
  readonly quietMs: number | null
  /** What was still moving at the bound. */
  readonly restless: readonly string[]
  readonly history: History
  readonly verdict: Verdict
}

interface ChaosOptions {
  readonly lanes: readonly (readonly Fault[])[]
  readonly lengthMs: number
  readonly random: Random
  /** Within which everything must be quiet after the last fault. */
  readonly boundMs: number
  readonly say: (line: string) => void
  /** Gives the run up: everything is stopped, and the promise rejects. */
  readonly signal: AbortSignal
}

const clientCount = 8

/** Load and faults, then everything is healed, and the checker says what it makes of it. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { lanes, lengthMs, random, say, signal } = options
  const isPlanned = (kind: FaultKind) => lanes.flat().some((fault) => fault.kind === kind)
  const [postgres, kafka] = await Promise.all([
    isPlanned('postgres-disk-full') ? ownPostgresOnSmallDisk() : ownPostgres(),
    isPlanned('kafka-disk-full') ? ownKafkaOnSmallDisk() : ownKafka(),
  ])
  const disks = { postgres: postgres.disk, kafka: kafka.disk }
  const stage = await openStage(instancesOf, { postgres: postgres.server, broker: kafka.server, disks })
  try {
    const clients = startClients(stage.apis, random, clientCount)
    const begunMs = performance.now()
    const canaries = buildCanaries(stage, clients, options.boundMs)
    const injected = (
      await Promise.all(lanes.map((lane) => runLane(stage, lane, { ...options, begunMs, canaries })))
    ).flat()
    await pause(Math.max(0, begunMs + lengthMs - performance.now()), signal)
    const requests = await clients.stop()
    signal.throwIfAborted()
    say(`all faults are healed after ${requests.length} requests; waiting for quiet`)
    const { quietMs, restless } = await becomeQuiet(stage, options.boundMs)
    const history = await readHistory(stage, requests)
    return { injected, quietMs, restless, history, verdict: check(history) }
  } finally {
    await stage.stop()
    await Promise.all([postgres.remove(), kafka.remove()])
  }
}

export const isWell = ({ verdict, quietMs, injected }: ChaosResult): boolean =>
  isRight(verdict) &&
  quietMs !== null &&
  injected.every(({ recoveredMs, missed }) => recoveredMs !== undefined || missed !== undefined)

interface Lane extends ChaosOptions {
  readonly begunMs: number
  readonly canaries: Canaries
}

async function runLane(stage: Stage, lane: readonly Fault[], around: Lane): Promise<Injected[]> {
  const { begunMs, lengthMs, boundMs, canaries, say, signal } = around
  const done: Injected[] = []
  for (const fault of lane) {
    await pause(Math.max(0, begunMs + fault.atMs - performance.now()), signal)
    // Where recoveries take long, the last ones find no time.
    if (signal.aborted || performance.now() > begunMs + lengthMs) break
    const one: Injected = { fault }
    done.push(one)
    const heal = await inject(stage, { fault, signal }).catch((error: unknown) => {
      one.missed = sentenceOf(error)
    })
    if (heal) {
      await pause(fault.forMs, signal)
      one.unhealed = await healed(heal, { boundMs, signal })
      const recoveredMs = one.unhealed === null ? await canaries.fly() : null
      if (recoveredMs !== null) one.recoveredMs = recoveredMs
    }
    say(`  ${((performance.now() - begunMs) / 1_000).toFixed(1)} s  ${nameOf(fault)}: ${toldOf(one)}`)
  }
  return done
}

const [injectTriesMax, injectAgainMs] = [3, 3_000]

/** Another fault may be in its way, as one of a server that it needs: that one is soon over. */
async function inject(stage: Stage, { fault, signal }: { fault: Fault; signal: AbortSignal }): Promise<Heal> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await injections[fault.kind](stage, fault)
    } catch (error) {
      if (tries === injectTriesMax || signal.aborted) throw error
      await pause(injectAgainMs, signal)
    }
  }
}

const healAgainMs = 500

/** Another fault may be in its way, as a server that is down: then it is tried again. @returns what is, at the bound. */
async function healed(
  heal: Heal,
  { boundMs, signal }: { boundMs: number; signal: AbortSignal },
): Promise<string | null> {
  const endMs = performance.now() + boundMs
  for (;;) {
    const inTheWay = await heal().then(() => null, sentenceOf)
    if (inTheWay === null || signal.aborted || performance.now() > endMs) return inTheWay
    await pause(healAgainMs, signal)
  }
}

const sentenceOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function toldOf({ recoveredMs, missed, unhealed }: Injected): string {
  if (missed !== undefined) return `not injected (${missed})`
  if (unhealed) return `not healed (${unhealed})`
  return recoveredMs === undefined ? 'not recovered' : `recovered in ${(recoveredMs / 1_000).toFixed(1)} s`
}

interface Canaries {
  fly(): Promise<number | null>
}

const firstCanary = 1_000_000

/** A like of a product of its own, after a fault: when it is counted, the whole way works again. */
function buildCanaries({ db }: Stage, clients: Clients, boundMs: number): Canaries {
  let next = firstCanary
  return {
    async fly() {
      const productId = (next += 1)
      const [begunMs, over] = [performance.now(), AbortSignal.timeout(boundMs)]
      await clients.canary(productId, over)
      while (!over.aborted) {
        const rows = await db
          .query(sql`select from metrics.product_metrics where product_id = ${productId}`)
          .catch(() => [])
        if (rows.length > 0) return performance.now() - begunMs
        await pause(50, over)
      }
      return null
    },
  }
}

async function becomeQuiet(
  stage: Stage,
  boundMs: number,
): Promise<{ quietMs: number | null; restless: readonly string[] }> {
  const begunMs = performance.now()
  for (;;) {
    const restless = await readRestless(stage).catch((error: unknown) => [String(error)])
    const ms = performance.now() - begunMs
    if (restless.length === 0) return { quietMs: ms, restless }
    if (ms > boundMs) return { quietMs: null, restless }
    await pause(250)
  }
}
