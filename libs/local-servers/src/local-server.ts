import type { Exit, RunningProcess } from './processes.ts'

/** A PostgreSQL or Kafka of ours: it can be stopped, killed and started again on the same port and data. */
export interface LocalServer {
  readonly port: number
  /** The present process; undefined while the server is down. In a container: undefined always. */
  readonly pid: number | undefined
  /** Resolves when it answers. Does nothing if it runs. */
  start(): Promise<void>
  /** Ends it in order, within a bound. Does nothing if it is down. */
  stop(): Promise<void>
  /** SIGKILL, as a power cut would end it. Does nothing if it is down. */
  kill(): Promise<void>
}

/** A LocalServer that is a child of this process. */
export interface EmbeddedServer extends LocalServer {
  readonly process: RunningProcess | undefined
}

/**
 * Starts a server by `launch`, which resolves to a process that answers, and returns the handle to it. The verbs of the
 * handle may overlap: each waits for the one before.
 */
export async function runServer(options: {
  port: number
  launch: () => Promise<RunningProcess>
  stop: (running: RunningProcess) => Promise<Exit>
}): Promise<EmbeddedServer> {
  let running: RunningProcess | undefined = await options.launch()
  const current = () => (running?.hasExited() === false ? running : undefined)
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = (verb: () => Promise<unknown>): Promise<void> => {
    const turn = last.then(verb, verb)
    last = turn
    return turn.then(() => undefined)
  }
  const endBy = (end: (process: RunningProcess) => Promise<unknown>) =>
    inTurn(async () => {
      const process = current()
      if (process !== undefined) await end(process)
    })
  return {
    port: options.port,
    get pid() {
      return current()?.pid
    },
    get process() {
      return current()
    },
    start: () =>
      inTurn(async () => {
        if (current() === undefined) running = await options.launch()
      }),
    stop: () => endBy(options.stop),
    // A kill does not queue behind a slow stop: it ends it.
    kill: async () => {
      await current()?.stop('SIGKILL', 0)
    },
  }
}
