import { appendFile, chmod, mkdir, mkdtemp } from 'node:fs/promises'
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
import { type SmallDisk, mountSmallDisk } from './small-disk.ts'

// The servers of the other tests go on while these are killed and stopped, so a fault of a server needs one of its own.
const log = buildLogger({ service: 'e2e', level: 'silent' })

interface Own<T> {
  server: T
  /** Where its data lies, if it can be full. */
  disk?: SmallDisk
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

/** Its log lies on a disk that can be full. */
export const ownKafkaOnSmallDisk = (): Promise<Own<EmbeddedKafka>> =>
  onSmallDisk(join('kafka', 'data'), (home) => startEmbeddedKafka({ home, log }))

/** All of its data does. Whoever runs it instead of root must reach it in there. */
export const ownPostgresOnSmallDisk = (): Promise<Own<EmbeddedPostgres>> =>
  onSmallDisk('postgres', async (home) => {
    await chmod(home, 0o755)
    return startEmbeddedPostgres({ home, log })
  })

/** What is not used costs nothing; a run of an hour leaves half of it in PostgreSQL. */
const diskMegabytes = 4_000

async function onSmallDisk<T extends EmbeddedKafka | EmbeddedPostgres>(
  folder: string,
  start: (home: string) => Promise<T>,
): Promise<Own<T>> {
  let disk: SmallDisk | undefined
  const server = await own(
    async (home) => {
      const path = join(home, folder)
      await mkdir(path, { recursive: true })
      disk = mountSmallDisk(path, diskMegabytes)
      return start(home)
    },
    () => disk?.unmount(),
  )
  return disk === undefined ? server : { ...server, disk }
}

async function own<T extends EmbeddedKafka | EmbeddedPostgres>(
  start: (home: string) => Promise<T>,
  afterwards: () => void = () => undefined,
): Promise<Own<T>> {
  const home = await mkdtemp(join(tmpdir(), 'likewise-faults-'))
  const server = await start(home)
  return {
    server,
    async remove() {
      await server.kill()
      afterwards()
      await removeHome(home)
    },
  }
}
