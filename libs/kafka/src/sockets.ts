import { type Socket, connect, isIP } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ISocketFactory } from 'kafkajs'

export interface Sockets {
  open: ISocketFactory
  /** Cuts all of them, and whatever is opened later: the client that has them is at its end. */
  destroy(): void
}

/**
 * Sockets as kafkajs would make them, but at hand: it waits for the answers that are missing and then only ends a socket,
 * which stays for as long as a broker that is wedged reads nothing. A send that failed also makes it connect anew.
 */
export function keepSockets(): Sockets {
  const sockets = new Set<Socket>()
  let over = false
  // With an error, of which kafkajs takes notice: it rejects what waits for an answer.
  const destroy = (socket: Socket) => socket.destroy(new Error('The connection is closed.'))
  return {
    open({ host, port, ssl, onConnect }) {
      const name = isIP(host) ? {} : { servername: host }
      // Typed as always there; absent without TLS.
      const secure = ssl as typeof ssl | undefined
      const made = secure
        ? connectTls({ host, port, ...name, ...secure }, onConnect)
        : connect({ host, port }, onConnect)
      // A request that follows another one at once, such as a fetch a commit, must not wait for that one's acknowledgement.
      const socket = made.setKeepAlive(true, 60_000).setNoDelay(true)
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      return over ? destroy(socket) : socket
    },
    destroy() {
      over = true
      for (const socket of sockets) destroy(socket)
    },
  }
}
