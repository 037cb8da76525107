import { appendFile, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type EmbeddedKafka,
  type EmbeddedPostgres,
  removeHome,
  startEmbeddedKafka,
  startEmbeddedPostgres,
} from '@likewise/local-servers'
import { buildLogger } from '@likewise/service'

// The servers of the other tests go on while these are killed and stopped, so a fault of a server needs one of its own.
const log = buildLogger({ service: 'e2e', level: 'silent' })

interface Own<T> {
  server: T
  remove(): Promise<void>
}

export const ownPostgres = (): Promise<Own<EmbeddedPostgres>> =>
  own((home) => startEmbeddedPostgres({ home, log }))

/** `settings`: lines over those of every embedded broker. */
export const ownKafka = (settings: readonly string[] = []): Promise<Own<EmbeddedKafka>> =>
  own(async (home) => {
    const server = await startEmbeddedKafka({ home, log })
    if (settings.length === 0) return server
    await server.stop()
    await appendFile(join(home, 'kafka', 'server.properties'), `${settings.join('\n')}\n`)
    await server.start()
    return server
  })

async function own<T extends EmbeddedKafka | EmbeddedPostgres>(
  start: (home: string) => Promise<T>,
): Promise<Own<T>> {
  const home = await mkdtemp(join(tmpdir(), 'likewise-faults-'))
  const server = await start(home)
  return {
    server,
    async remove() {
      await server.kill()
      await removeHome(home)
    },
  }
}
