import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals'
import { Command } from 'commander'
import fc from 'fast-check'
import { addSizeCommand } from './size.ts'
import { shippedFigures } from './shipped-figures.ts'
import { type Demand, type Figures, type Sizing, pools, sizeOf } from './sizing.ts'

const figures: Figures = {
  'api.likes': 4_000,
  'api.rss': 100,
  'relay.drain': 40_000,
  'relay.rss': 150,
  'consumer.drain': 20_000,
  'consumer.hotKey': 16_000,
  'consumer.rss': 160,
  'storage.like': 100,
  'storage.outboxEvent': 400,
  'storage.handledEvent': 200,
  'storage.record': 300,
  'storage.bucket': 100,
  'storage.product': 50,
}
const demand: Demand = {
  likesPerSecond: 1_000,
  peakPerSecond: 3_000,
  products: 100_000,
  outboxDays: 7,
  replication: 3,
  connectionsMax: 200,
}
const sized = (change: Partial<Demand> = {}) => sizeOf({ ...demand, ...change }, figures)
const gb = (bytes: number) => Math.round(bytes / 1e9)

describe('the model of sizes', () => {
  it('plans each process for half of what it was measured to do, and never fewer than two', () => {
    expect(sized().fleets).toMatchObject({
      likeApi: { replicas: 2, memoryMb: 200 },
      outboxRelay: { replicas: 2 },
      metricsConsumer: { replicas: 2, replicasMax: 12 },
      metricsApi: { replicas: 2 },
    })
    const busy = sized({ peakPerSecond: 50_000 }).fleets
    expect(busy.likeApi.replicas).toBe(25)
    expect(busy.outboxRelay.replicas).toBe(3)
    expect(busy.metricsConsumer.replicas).toBe(5)
  })

  it('adds up the pools of all processes, with one more of each API in a rollout', () => {
    // 3 × 10 + 2 × 5 + 2 × 5 + 3 × 5, and 9 for commands, a migration and the superuser
    expect(sized().connections).toEqual({ needed: 74, max: 200 })
    expect(sized({ likesPerSecond: 100, connectionsMax: 73 }).warnings).toEqual([
      '74 connections are needed and max_connections is 73: raise it, make pools smaller, or put a pooler in between.',
    ])
  })

  it('has the pools that the services have', () => {
    const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
    const poolOf = (service: string) =>
      Number(new RegExp(`\\| \`${service}_POOL_SIZE\` \\| \`(\\d+)\``).exec(readme)?.[1])
    expect(pools).toEqual({
      likeApi: poolOf('LIKE_API'),
      outboxRelay: poolOf('RELAY') + 1,
      metricsConsumer: poolOf('CONSUMER'),
      metricsApi: poolOf('METRICS_API'),
    })
  })

  it('knows how long each thing is kept', () => {
    const { disk } = sized()
    const perDay = 1_000 * 86_400
    expect(disk.outbox).toBe(perDay * 8 * 400)
    expect(disk.handled).toBe(perDay * 32 * 200)
    expect(disk.likesPerYear).toBe(perDay * 365 * 100)
    expect(disk.products).toBe(100_000 * 50)
    // 14 days, and what lies in the last segment of 1 GiB of each of 12 partitions; three copies
    expect(gb(disk.topic)).toBe(gb(3 * (perDay * 14 * 300 + 12 * 2 ** 30)))
    expect(sized({ outboxDays: 1 }).disk.outbox).toBe(perDay * 2 * 400)
  })

  it('counts a bucket once for each product and minute, however many likes are in it', () => {
    const few = sized({ products: 10 }).disk
    expect(few.buckets / 100).toBeCloseTo(10 * (48 * 60 + 90 * 24), 0)
    // With far more products than likes nearly each like has a bucket of its own.
    const many = sized({ products: 900_000_000, likesPerSecond: 1 }).disk
    expect(many.buckets / 100 / (48 * 3_600 + 90 * 86_400)).toBeCloseTo(1, 3)
  })

  it('tells how long a backlog of an hour takes, with likes coming in as before', () => {
    expect(sized().outage).toEqual({
      rows: 10_800_000,
      bytes: 10_800_000 * 400,
      minutesToDrain: 10_800_000 / (2 * 40_000 - 3_000) / 60,
    })
  })

  it('gives the topic more partitions where twelve consumers are not enough', () => {
    const large = sized({ peakPerSecond: 130_000 })
    expect(large.fleets.metricsConsumer.replicas).toBe(13)
    expect(large.partitions).toBe(24)
  })

  it('says what is beyond one outbox, one product, or brokers that nobody looks after', () => {
    const huge = sized({ peakPerSecond: 1_000_000, replication: 1, connectionsMax: 100_000 })
    expect(huge.warnings).toEqual([
      expect.stringContaining('12 shards, for as many relays, and 50 are needed'),
      "One product's events go through one partition: no single product may have more than 8000 likes/s of the 1000000.",
      expect.stringContaining('fewer than three copies'),
      expect.stringContaining('managed Kafka'),
    ])
    expect(huge.fleets.outboxRelay.replicas).toBe(12)
    expect(huge.outage.minutesToDrain).toBeNull()
    expect(sized({ likesPerSecond: 10, peakPerSecond: 30 }).warnings).toEqual([])
  })

  it('never needs less for more likes', () => {
    const total = ({ disk, fleets, connections }: Sizing) => [
      ...Object.values(disk),
      ...Object.values(fleets).map(({ replicas }) => replicas),
      connections.needed,
    ]
    const likes = fc.integer({ min: 1, max: 1_000_000 })
    fc.assert(
      fc.property(likes, likes, fc.integer({ min: 1, max: 10_000_000 }), (one, other, products) => {
        const [less, more] = [Math.min(one, other), Math.max(one, other)].map((rate) =>
          total(sized({ likesPerSecond: rate, peakPerSecond: rate, products })),
        )
        return less!.every((value, i) => value <= more![i]! * (1 + 1e-9))
      }),
    )
  })
})

describe('likewise size', () => {
  let folder: string
  let said: string[]
  let complaints: string[]
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'likewise-size-'))
    ;[said, complaints] = [[], []]
  })
  afterEach(() => {
    rmSync(folder, { recursive: true })
  })

  function run(...args: string[]): void {
    const program = new Command('likewise')
    program.exitOverride().configureOutput({ writeErr: (text) => complaints.push(text) })
    addSizeCommand(program, (line) => said.push(line))
    for (const command of program.commands)
      command.exitOverride().configureOutput({ writeErr: (text) => complaints.push(text) })
    program.parse(['node', 'likewise', 'size', ...args])
  }

  function file(report: unknown): string {
    const path = join(folder, 'bench.json')
    writeFileSync(path, typeof report === 'string' ? report : JSON.stringify(report))
    return path
  }

  it('prints processes, disk and peak, and all that it takes for granted', () => {
    run('--likes-per-second', '500')
    const [text] = said
    expect(text).toContain('For 500 likes/s, 1,500 at the peak, on 100,000 products')
    const twice = (name: string) =>
      String(2 * Number(shippedFigures.parts.find((p) => p.name === name)?.value))
    expect(text).toMatch(new RegExp(`^ {2}like-api +2 +${twice('api.rss')} MB +30$`, 'm'))
    expect(text).toMatch(new RegExp(`^ {2}outbox-relay +2 +12 +${twice('relay.rss')} MB +10$`, 'm'))
    expect(text).toContain('12 partitions, 12 shards; 74 connections of PostgreSQL (max_connections 100)')
    expect(text).toMatch(/^ {2}PostgreSQL, catalog\.outbox_events +139 GB$/m)
    expect(text).toMatch(/^ {2}Kafka, catalog-events, all copies +\d+ GB$/m)
    expect(text).toContain('Taken for granted')
    expect(text).toContain('Measured on AMD EPYC, 2 cores')
    expect(text).not.toContain('Not in that file')
  })

  it('comes with the figures of the README', () => {
    const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
    const figures = readme.slice(readme.indexOf('## Figures'))
    const shipped = shippedFigures.parts.filter(({ name }) => !name.startsWith('storage.'))
    expect(shipped).toHaveLength(7)
    for (const { name, value } of shipped) {
      const text = value.toLocaleString('en-US')
      expect([name, figures]).toEqual([
        name,
        expect.stringContaining(name.endsWith('.rss') ? `${text} MB` : `${text}/s`),
      ])
    }
  })

  it('reckons with the figures of a benchmark, and says which ones it has not', () => {
    const machine = { cpu: 'Fast', cores: 64, memoryMb: 1, node: '24', postgres: '18', kafka: '4' }
    const parts = [{ name: 'api.likes', value: 30, unit: '1/s', limit: null }]
    const path = file({ machine, date: '2026-12-01T00:00:00Z', commit: 'abc', parts })
    run('--likes-per-second', '10', '--peak', '300', '--bench', path)
    expect(said[0]).toMatch(/^ {2}like-api +20 /m)
    expect(said[0]).toContain('Measured on Fast, 64 cores')
    expect(said[0]).toContain(
      'Not in that file, and taken from the figures that come with likewise: api.rss, relay.drain',
    )
    run('--likes-per-second', '10', '--bench', path, '--json')
    expect(JSON.parse(said[1]!)).toMatchObject({
      demand: { likesPerSecond: 10, peakPerSecond: 30, products: 100_000 },
      figures: { 'api.likes': 30 },
      measured: { commit: 'abc', machine: { cores: 64 } },
    })
  })

  it.each([
    [['--likes-per-second', '0'], 'It must be a number above 0'],
    [['--likes-per-second', 'many'], 'It must be a number above 0'],
    [['--likes-per-second', '1e9'], 'It must be a number above 0'],
    [['--likes-per-second', '10', '--peak', '5'], 'below the average'],
    [['--likes-per-second', '10', '--products', '0'], 'It must be a whole number from 1'],
    [['--likes-per-second', '10', '--retention', '10'], 'It must be a whole number from 1 to 8'],
    [[], "required option '--likes-per-second <n>' not specified"],
  ])('refuses %j', (args, sentence) => {
    expect(() => {
      run(...args)
    }).toThrow()
    expect(complaints.join('')).toContain(sentence)
    expect(said).toEqual([])
  })

  it.each([
    ['{', 'is not JSON'],
    ['{"parts":[]}', 'is not a report of the benchmark'],
    [
      {
        machine: { cpu: '', cores: 1, memoryMb: 1, node: '', postgres: '', kafka: '' },
        date: '',
        commit: '',
        parts: [{ name: 'e2e.p50', value: 1 }],
      },
      'has none of the parts that are needed (api.likes,',
    ],
  ])('refuses the file %j', (content, sentence) => {
    const path = file(content)
    expect(() => {
      run('--likes-per-second', '10', '--bench', path)
    }).toThrow(`${path} ${sentence}`)
  })

  it('refuses a file that is not there', () => {
    expect(() => {
      run('--likes-per-second', '10', '--bench', join(folder, 'none.json'))
    }).toThrow('none.json cannot be read. Make it by: npm run bench')
  })
})
