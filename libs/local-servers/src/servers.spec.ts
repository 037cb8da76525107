import { describe, expect, it } from '@jest/globals'
import { kafkaEnvironment } from './containers.ts'
import { kafkaSettings } from './embedded-kafka.ts'
import { cacheDirectory, parseJavaMajor } from './jars.ts'
import { missingTool } from './missing-tool.ts'
import { parseAccounts } from './postgres-place.ts'
import { together } from './together.ts'

describe('parseJavaMajor', () => {
  it.each([
    ['openjdk version "17.0.15" 2025-04-15', 17],
    ['openjdk version "21" 2023-09-19', 21],
    ['java version "1.8.0_402"', 8],
    ['Picked up JAVA_TOOL_OPTIONS: -Dx="1"\nopenjdk version "25-ea" 2025-09-16', 25],
    ['The operation couldn’t be completed. Unable to locate a Java Runtime.', undefined],
  ])('reads %j', (output, major) => {
    expect(parseJavaMajor(output)).toBe(major)
  })
})

describe('parseAccounts', () => {
  it('reads accounts and passes over what is none', () => {
    const accounts = parseAccounts(
      'root:x:0:0::/root:/bin/sh\n# comment\nnobody:*:-2:-2:x:/var/empty:/bin/false\n',
    )
    expect([...accounts.values()]).toEqual([
      { name: 'root', uid: 0, gid: 0 },
      { name: 'nobody', uid: -2, gid: -2 },
    ])
  })
})

describe('cacheDirectory', () => {
  it('prefers LIKEWISE_CACHE, then XDG_CACHE_HOME, then the home', () => {
    expect(cacheDirectory({ LIKEWISE_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a/likewise')
    expect(cacheDirectory({ LIKEWISE_CACHE: '', XDG_CACHE_HOME: '/b' })).toBe('/b/likewise')
    expect(cacheDirectory({})).toMatch(/\/\.cache\/likewise$/)
  })
})

describe('the settings of Kafka', () => {
  it('listen on loopback only and make no topic unasked', () => {
    const lines = kafkaSettings({ port: 20_001, controllerPort: 20_002, data: '/home/kafka/data' }).split(
      '\n',
    )
    expect(lines).toContain('listeners=PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002')
    expect(lines).toContain('auto.create.topics.enable=false')
    expect(lines).toContain('log.dirs=/home/kafka/data')
  })

  it('advertise, in a container, the address under which the broker also reaches itself', () => {
    const environment = kafkaEnvironment('localhost', 20_001)
    expect(environment['KAFKA_LISTENERS']).toContain(':20001')
    expect(environment['KAFKA_ADVERTISED_LISTENERS']).toBe('PLAINTEXT://localhost:20001')
  })
})

describe('missingTool', () => {
  it('names the three ways to mend it', () => {
    expect(missingTool('Java is not installed.', { install: 'install Java' }).message).toBe(
      'Java is not installed. To have PostgreSQL and Kafka, either name running ones in CATALOG_DATABASE_URL, METRICS_DATABASE_URL and KAFKA_BROKERS, or start Docker, or install Java.',
    )
  })
})

describe('together', () => {
  it('undoes what did start when the other fails, however late', async () => {
    const undone: string[] = []
    const started = together<string, never>(
      [
        () =>
          new Promise((resolve) =>
            setImmediate(() => {
              resolve('postgres')
            }),
          ),
        () => Promise.reject(new Error('no Kafka')),
      ],
      (name) => Promise.resolve(void undone.push(name)),
    )
    await expect(started).rejects.toThrow('no Kafka')
    expect(undone).toEqual(['postgres'])
  })
})
