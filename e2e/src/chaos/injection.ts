import type { Fault } from './plan.ts'
import type { Actor, Stage } from './stage.ts'

export type Heal = () => Promise<void>

/** Does it. @returns what heals it, to be called when its time is over; where another fault is in its way, again. */
export type Inject = (stage: Stage, fault: Fault) => Promise<Heal>

/** Nothing to heal: the platform starts again what has ended, and clients connect anew. */
export const byItself: Heal = () => Promise.resolve()

export function onActor(inject: (actor: Actor, fault: Fault, stage: Stage) => Promise<Heal>): Inject {
  return async (stage, fault) => {
    const actor = stage.actor(fault.app, fault.instance)
    return actor === undefined ? byItself : inject(actor, fault, stage)
  }
}
