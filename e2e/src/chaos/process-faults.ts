import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { kill, leave } from '../faults/bed.ts'
import { clockBy, clockMovedBy, faketimeLibrary } from '../faults/moved-clock.ts'
import { eventually } from '../system.ts'
import { type Heal, type Inject, byItself, onActor } from './injection.ts'
import type { Fault } from './plan.ts'
import type { Actor, Stage } from './stage.ts'

const daySeconds = 86_400

/** What happens to a process, and to the machine that it shares. */
export const processFaults = {
  kill: onActor(async ({ running }) => {
    if (!running().process.hasExited()) await kill(running())
    return byItself
  }),
  stop: onActor(async ({ running }) => {
    if (!running().process.hasExited()) await leave(running())
    return byItself
  }),
  sleep: onActor(async ({ running }) => {
    const { process: sleeper } = running()
    if (sleeper.hasExited()) return byItself
    process.kill(sleeper.pid, 'SIGSTOP')
    return async () => {
      if (!sleeper.hasExited()) process.kill(sleeper.pid, 'SIGCONT')
    }
  }),
  link: onActor(async ({ links }, { server, toxic }) => {
    links[server].poison(toxic)
    return async () => {
      links[server].poison(null)
    }
  }),
  clock: onActor(async (actor, fault) => {
    actor.setEnv({ NODE_OPTIONS: clockMovedBy(dayOf(fault) * 1_000) })
    if (!actor.running().process.hasExited()) await leave(actor.running())
    return async () => {
      actor.setEnv({})
      if (!actor.running().process.hasExited()) await leave(actor.running())
    }
  }),
  'clock-jump': onActor(setClock),
  cpu: burn,
} satisfies Record<string, Inject>

/** A day back or ahead. */
const dayOf = ({ seed }: Fault): number => (seed % 2 === 0 ? daySeconds : -daySeconds)

/** The wall clock of a process that runs jumps, and back again: as where somebody sets it, or a time server steps it. */
async function setClock(actor: Actor, fault: Fault, { home }: Stage): Promise<Heal> {
  const [library, file] = [faketimeLibrary(), join(home, `${actor.name}.clock`)]
  if (library === undefined) throw new Error('libfaketime is gone')
  await writeFile(file, '+0')
  const { process: before } = actor.running()
  actor.setEnv(clockBy(library, file))
  if (!before.hasExited()) await leave(actor.running())
  await eventually(async () => !actor.running().process.hasExited()).finally(() => {
    actor.setEnv({})
  })
  const seconds = dayOf(fault)
  await writeFile(file, seconds > 0 ? `+${seconds}` : String(seconds))
  // Its next start has no such clock any more.
  return () => writeFile(file, '+0')
}

/** As many busy loops as there are cores, twice. */
async function burn(): Promise<Heal> {
  const busy = Array.from({ length: 2 * availableParallelism() }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
  )
  return async () => {
    for (const child of busy) child.kill('SIGKILL')
  }
}
