import { appendFile, mkdir, mkdtemp } from 'node:fs/promises'
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
  /** Where its log lies, if it can be filled. */
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

/** Its log lies on a disk that can be filled. */
export async function ownKafkaOnSmallDisk(): Promise<Own<EmbeddedKafka>> {
  let disk: SmallDisk | undefined
  const kafka = await own(
    async (home) => {
      const data = join(home, 'kafka', 'data')
      await mkdir(data, { recursive: true })
      disk = mountSmallDisk(data, diskMegabytes)
      return startEmbeddedKafka({ home, log })
    },
    () => disk?.unmount(),
  )
  if (disk === undefined) throw new Error('Kafka was started without its disk.')
  return { ...kafka, disk }
}

/** A run of an hour leaves a tenth of it on the topic. */
const diskMegabytes = 1_000

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
