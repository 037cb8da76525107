import { TestEnvironment } from 'jest-environment-node'

// What a test opens and forgets: sockets, servers, child processes. (Timers are jest's own, too.)
const kinds = ['TCPSocketWrap', 'TCPServerWrap', 'ProcessWrap', 'FSEventWrap']
// A server ends a session a moment after its socket was closed, and the machine may be busy.
const waitMs = 10_000

const countOpen = () => process.getActiveResourcesInfo().filter((kind) => kinds.includes(kind)).length

/**
 * Fails the file that leaves something open. Jest itself only warns, names no file, and takes a worker that needs more than half
 * a second to end, as on a busy machine, for one that has a leak.
 */
export default class extends TestEnvironment {
  #before = countOpen()

  async teardown() {
    await super.teardown()
    const endMs = performance.now() + waitMs
    while (countOpen() > this.#before) {
      if (performance.now() > endMs)
        throw new Error(`A test left something open: ${process.getActiveResourcesInfo().join(', ')}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}
