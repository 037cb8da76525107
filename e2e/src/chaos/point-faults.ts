import { kill } from '../faults/bed.ts'
import { type TableLock, lockCursors, lockEffects, lockOutbox, readBackends } from '../faults/table-lock.ts'
import { eventually } from '../system.ts'
import { type Heal, type Inject, byItself } from './injection.ts'
import type { KillPoint } from './plan.ts'
import type { Actor, Stage } from './stage.ts'

/** Waits until the process is there, and keeps it there. @returns what lets go of what it was kept by. */
type Reach = (stage: Stage, actor: Actor) => Promise<Heal>

/** The likes of the clients bring each process there; where a lock keeps them, it is one of those that wait. */
const reaches: Record<KillPoint, Reach> = {
  'in a like': ({ db }) => waitAt(lockOutbox(db)),
  'before publish': async (_, actor) => keepBack(actor, 'up'),
  'before settle': async (_, actor) => keepBack(actor, 'down'),
  'while settling': ({ db }) => waitAt(lockCursors(db)),
  'in its transaction': ({ db }) => waitAt(lockEffects(db)),
  'before the offset': async ({ db }, { links: { kafka } }) => {
    const letGo = await waitAt(lockEffects(db))
    const pids = await readBackends(db, 'metrics-consumer', { waiting: true }).catch((): number[] => [])
    kafka.hold('up') // what has come is handled, and the broker is not told
    await letGo()
    return reached(
      async () => {
        kafka.release()
      },
      async () =>
        (await readBackends(db, 'metrics-consumer', { waiting: true })).every((pid) => !pids.includes(pid)),
    )
  },
}

export const pointFaults = {
  'kill-at': async (stage, { app, instance, point }) => {
    // Another where that one was killed a moment ago.
    const wanted = `${app}-${instance}`
    const running = stage.actors(app).filter((one) => !one.running().process.hasExited())
    const actor = running.find(({ name }) => name === wanted) ?? running[0]
    if (actor === undefined) throw new Error(`no ${app} runs just now`)
    const letGo = await reaches[point](stage, actor)
    try {
      if (!actor.running().process.hasExited()) await kill(actor.running())
    } finally {
      await letGo()
    }
    return byItself
  },
} satisfies Record<string, Inject>

async function waitAt(locking: Promise<TableLock>): Promise<Heal> {
  const lock = await locking
  // The server may have ended it meanwhile.
  const letGo = () => lock.release().catch(() => undefined)
  return reached(letGo, async () => (await lock.waiting()).length > 0)
}

async function keepBack({ links: { kafka } }: Actor, direction: 'up' | 'down'): Promise<Heal> {
  const before = kafka.keptBytes()
  kafka.hold(direction)
  return reached(
    async () => {
      kafka.release()
    },
    async () => kafka.keptBytes() > before,
  )
}

async function reached(letGo: Heal, isThere: () => Promise<boolean>): Promise<Heal> {
  try {
    await eventually(isThere)
    return letGo
  } catch {
    await letGo()
    throw new Error('nobody came to that point within 30 s')
  }
}
