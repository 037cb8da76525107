import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { findKafkaTools } from './kafka-jars.ts'
import { silentLog, temporaryHome } from './testing.ts'
import type { TemporaryHome } from './testing.ts'

const java17 = `echo 'openjdk version "17.0.1"' >&2`
/** Does what Maven would, the directory being the value of -DoutputDirectory. */
const maven = `for argument; do case $argument in -DoutputDirectory=*) into=\${argument#*=} ;; esac; done
[ -n "$into" ] || exit 0
/bin/mkdir -p "$into" && echo jar >"$into/kafka.jar"`

let temporary: TemporaryHome
let programs: string
let cache: string

beforeEach(async () => {
  temporary = await temporaryHome()
  programs = join(temporary.home, 'bin')
  cache = join(temporary.home, 'cache', 'likewise')
  await mkdir(programs, { recursive: true })
})
afterEach(() => temporary.remove())

async function program(name: string, script: string): Promise<void> {
  await writeFile(join(programs, name), `#!/bin/sh\n${script}\n`)
  await chmod(join(programs, name), 0o755)
}

const find = () =>
  findKafkaTools({ env: { PATH: programs, LIKEWISE_CACHE: join(temporary.home, 'cache') }, log: silentLog })

describe('findKafkaTools', () => {
  it('names all that is missing, and the three ways to mend it, in one go', async () => {
    await expect(find()).rejects.toMatchObject({
      code: 'MISSING_TOOL',
      message: expect.stringMatching(
        /^Java is not installed .*Maven is not installed .*KAFKA_BROKERS.*Docker.*Java 17 or newer and Maven/s,
      ),
    })
  })

  it('finds Java too old', async () => {
    await program('java', `echo 'openjdk version "11.0.2"' >&2`)
    await program('mvn', maven)
    await expect(find()).rejects.toMatchObject({ message: expect.stringContaining('Java 11 is too old') })
    expect(existsSync(cache)).toBe(false)
  })

  it('finds that what is called java does not run', async () => {
    await program('java', 'echo Unable to locate a Java Runtime. >&2; exit 1')
    await program('mvn', maven)
    await expect(find()).rejects.toMatchObject({ message: expect.stringContaining('Unable to locate') })
  })

  it('fetches the jars once; from then on Maven is not needed', async () => {
    await program('java', java17)
    await program('mvn', maven)
    const { jars } = await find()
    expect(await readdir(jars)).toEqual(['kafka.jar'])
    await program('mvn', 'exit 1')
    expect((await find()).jars).toBe(jars)
  })

  it('lets two fetch at the same time', async () => {
    await program('java', java17)
    await program('mvn', maven)
    const [one, other] = await Promise.all([find(), find()])
    expect(one.jars).toBe(other.jars)
    expect(await readdir(cache)).toEqual(['kafka-4.3.1'])
  })

  it('leaves nothing half-made when Maven fails, and tells what it said', async () => {
    await program('java', java17)
    await program(
      'mvn',
      `${maven}\n[ -z "$into" ] || { echo '[ERROR] Could not transfer artifact'; exit 1; }`,
    )
    await expect(find()).rejects.toMatchObject({
      code: 'MISSING_TOOL',
      message: expect.stringContaining('Could not transfer'),
    })
    expect(await readdir(cache)).toEqual([])
  })

  it('clears up after a Maven that was killed, but not beside one at work', async () => {
    await program('java', java17)
    await program('mvn', maven)
    const longAgo = new Date(Date.now() - 86_400_000)
    for (const name of ['kafka-4.3.1.killed', 'kafka-4.3.1.atwork'])
      await mkdir(join(cache, name), { recursive: true })
    await utimes(join(cache, 'kafka-4.3.1.killed'), longAgo, longAgo)
    await find()
    expect((await readdir(cache)).sort()).toEqual(['kafka-4.3.1', 'kafka-4.3.1.atwork'])
  })
})
