import { Failure } from '@likewise/service'

/** A virtual clock, and the choices that decide what goes wrong. The same choices give the same history. */
export interface World {
  now(): number
  /** From 0 to 255; 0, by which nothing goes wrong, where no choice is left. */
  choice(): number
  /** Runs something at that time. @returns what takes it back. */
  at(ms: number, run: () => void): () => void
  /** Waits, whatever becomes of processes: what servers do by themselves. */
  sleep(ms: number): Promise<void>
  /** Lets time pass until then, or until it is over. */
  run(untilMs: number, isOver: () => boolean): Promise<void>
}

interface Planned {
  atMs: number
  run: (() => void) | null
}

export function buildWorld(choices: readonly number[]): World {
  const queue: Planned[] = []
  let [nowMs, used] = [0, 0]

  function at(ms: number, run: () => void): () => void {
    const planned: Planned = { atMs: Math.max(ms, nowMs), run }
    let i = queue.length
    while (i > 0 && (queue[i - 1]?.atMs ?? 0) <= planned.atMs) i -= 1
    queue.splice(i, 0, planned)
    return () => void (planned.run = null)
  }
  return {
    now: () => nowMs,
    choice: () => choices[used++] ?? 0,
    at,
    sleep: (ms) => new Promise((resolve) => at(nowMs + ms, resolve)),
    async run(untilMs, isOver) {
      // What comes first lies last; of equals the one that was planned first.
      for (let next = queue.at(-1); next !== undefined && next.atMs <= untilMs; next = queue.at(-1)) {
        queue.pop()
        if (next.run === null) continue
        nowMs = next.atMs
        next.run()
        // Everything that waited for it goes on until it waits for something else.
        await new Promise(setImmediate)
        if (isOver()) return
      }
      nowMs = Math.max(nowMs, untilMs)
    },
  }
}

/** Ends the work of a process that is gone; never seen by anybody else. */
export interface Process {
  readonly name: string
  isAlive(): boolean
  /** Between two steps, by the process's own patience. */
  pause(ms: number): Promise<void>
  /** Asks a server; the answer may be lost, late or never come, and the process may die or sleep meanwhile. */
  call<T>(server: Server, work: () => T | Promise<T>, limitMs?: number): Promise<T>
  kill(): void
  /** SIGSTOP: nothing happens in it, and what it has sent goes on. */
  freeze(ms: number): void
}

export interface Server {
  /** Until then it answers nobody. */
  downUntilMs: number
}

/** So long a request waits for its answer, unless told otherwise. */
const answerMs = 60
const hopMs = 1

export function buildProcess(world: World, name: string, onDeath: () => void): Process {
  let [isAlive, frozenUntilMs] = [true, 0]

  /** Only while it lives and is awake. */
  function awake(run: () => void): void {
    if (!isAlive) return
    if (frozenUntilMs > world.now()) world.at(frozenUntilMs, () => awake(run))
    else run()
  }
  function kill(): void {
    if (!isAlive) return
    isAlive = false
    onDeath()
  }
  const freeze = (ms: number): void => void (frozenUntilMs = Math.max(frozenUntilMs, world.now() + ms))

  return {
    name,
    isAlive: () => isAlive,
    kill,
    freeze,
    pause: (ms) => new Promise((resolve) => world.at(world.now() + ms, () => awake(resolve))),
    call: (server, work, limitMs = answerMs) =>
      new Promise((resolve, reject) => {
        const fate = fateOf(world.choice())
        if (fate.kills === 'before') return kill()
        const patience = world.at(world.now() + limitMs, () => awake(() => reject(unavailable())))
        const answer = (told: () => void): void => {
          if (fate.losesAnswer) return
          world.at(world.now() + fate.backMs, () =>
            awake(() => {
              patience()
              told()
            }),
          )
        }
        if (!fate.losesRequest) {
          world.at(world.now() + fate.thereMs, () => {
            if (server.downUntilMs > world.now()) return answer(() => reject(unavailable()))
            // An answer tells what was when it was made, however late it arrives.
            Promise.resolve()
              .then(work)
              .then(
                (result) => answer(() => resolve(result)),
                (error: unknown) => answer(() => reject(asError(error))),
              )
          })
        }
        if (fate.kills === 'after') kill()
        if (fate.freezesMs > 0) freeze(fate.freezesMs)
      }),
  }
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))

export const unavailable = (): Failure => new Failure('DATABASE_UNAVAILABLE', 'There was no answer.')

interface Fate {
  thereMs: number
  backMs: number
  losesRequest: boolean
  losesAnswer: boolean
  kills?: 'before' | 'after'
  freezesMs: number
}

/** What becomes of a request: mostly nothing, and a long delay more often than a death. */
function fateOf(choice: number): Fate {
  const usual = { thereMs: hopMs, backMs: hopMs, losesRequest: false, losesAnswer: false, freezesMs: 0 }
  const part = choice % 16
  if (choice < 128) return usual
  if (choice < 160) return { ...usual, thereMs: hopMs + part }
  if (choice < 176) return { ...usual, thereMs: 40 * (part + 1) }
  if (choice < 192) return { ...usual, backMs: 40 * (part + 1) }
  if (choice < 200) return { ...usual, losesRequest: true }
  if (choice < 216) return { ...usual, losesAnswer: true }
  if (choice < 224) return { ...usual, kills: 'before' }
  if (choice < 240) return { ...usual, kills: 'after', thereMs: hopMs + 20 * part }
  return { ...usual, freezesMs: 50 * (part + 1) }
}
