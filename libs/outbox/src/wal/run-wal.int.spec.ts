import { randomUUID } from 'node:crypto'
import { type Socket, connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { sql } from '@likewise/database'
import { openTx } from '@likewise/database/testing'
import { buildTelemetry, pause } from '@likewise/service'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals'
import { buildRelays, log, nameOf, numbered, takeAllShards, unpublished, until, write } from '../testing.ts'
import { type WalContext, runWal } from './run-wal.ts'
import { readWalHealth } from './slot.ts'
import { disableWal, enableWal } from './switch.ts'
import { type WalTest, enabled, limits, publishAll, walDatabase } from './testing.ts'
import { walTelemetry } from './wal-telemetry.ts'

let test: WalTest
let running: { stop: () => Promise<void> }[]

beforeAll(async () => {
  test = await walDatabase('wal_run')
})
afterAll(() => test.drop())
beforeEach(() => {
  running = []
})
afterEach(async () => {
  await Promise.all(running.map(({ stop }) => stop()))
  await disableWal(test.switch)
  await test.db.execute(sql`truncate catalog.outbox_events`)
  await freeShards()
  await publishAll(test)
})

interface Reader {
  sent: string[]
  reads: boolean[]
  ended: Promise<string>
  stop: () => Promise<void>
}

/** A relay in WAL mode that publishes into an array. `ended`: how runWal came to its end. */
async function start(overrides: Partial<WalContext> = {}): Promise<Reader> {
  const owner = randomUUID()
  const leases = await takeAllShards(test.db, owner)
  const stopping = new AbortController()
  const [sent, reads]: [string[], boolean[]] = [[], []]
  const context: WalContext = {
    db: test.db,
    url: test.url,
    owner,
    leases: () => leases,
    deliver: async (events) => void sent.push(...events.map(nameOf)),
    reading: (now) => void reads.push(now),
    limits,
    log,
    telemetry: walTelemetry(buildTelemetry('test')),
    stopping: stopping.signal,
    slot: test.slot,
    ...overrides,
  }
  const ended = runWal(context).then(
    () => 'done',
    (error: unknown) => String(error),
  )
  const stop = async () => {
    stopping.abort()
    await ended
  }
  running.push({ stop })
  return { sent, reads, ended, stop }
}

async function freeShards(): Promise<void> {
  await test.db.execute(sql`update catalog.outbox_leases set owner = null`)
  await test.db.execute(sql`delete from catalog.outbox_relays`)
}

describe('a relay that reads the WAL', () => {
  it('delivers in commit order, confirms, and takes the poll cursors along', async () => {
    await enabled(test)
    const { slot: before } = await readWalHealth(test.db, test.slot)
    await write(test.db, ['first'])
    const reader = await start()
    for (const name of numbered('next-', 300)) await write(test.db, [name])
    await until('all are delivered', () => reader.sent.length === 301)
    expect(reader.sent).toEqual(['first', ...numbered('next-', 300)])
    await until('the cursors have stepped', async () => (await unpublished(test.db)).length === 0)
    await until('the slot is confirmed', async () => {
      const { slot } = await readWalHealth(test.db, test.slot)
      return slot!.confirmedFlushLsn! > before!.confirmedFlushLsn!
    })
    await reader.stop()
    expect(reader.reads).toEqual([true, false])
    // Nothing comes twice after an orderly stop.
    const next = await start()
    await write(test.db, ['after'])
    await until('the next one is delivered', () => next.sent.length > 0)
    expect(next.sent).toEqual(['after'])
  })

  it('moves no cursor past an event that is not acknowledged', async () => {
    await enabled(test)
    let letGo: () => void = () => undefined
    const held = new Promise<void>((resolve) => (letGo = resolve))
    running.push({ stop: async () => letGo() })
    const reader = await start({ deliver: () => held })
    await write(test.db, ['held'])
    await pause(3_000)
    expect((await unpublished(test.db)).length).toBe(1)
    const { slot } = await readWalHealth(test.db, test.slot)
    expect(slot!.lagBytes).toBeGreaterThan(0)
    letGo()
    await until('it is published', async () => (await unpublished(test.db)).length === 0)
    await reader.stop()
  })

  it('repeats what was sent but not acknowledged when it is cut off, and loses nothing', async () => {
    await enabled(test)
    const names = numbered('cut-', 120)
    for (const name of names) await write(test.db, [name])
    const sent: string[] = []
    const stopping = new AbortController()
    const hanging = await start({
      stopping: stopping.signal,
      deliver: async (events) => {
        sent.push(...events.map(nameOf))
        if (sent.length < 60) return
        // Killed here: sent to the broker, and nobody knows.
        stopping.abort()
        throw new Error('killed')
      },
    })
    expect(await hanging.ended).toBe('done')
    const next = await start()
    await until('the rest has come', () => new Set([...sent, ...next.sent]).size === 120)
    const firstCopies = [...new Set([...sent, ...next.sent])]
    expect(firstCopies).toEqual(names)
    expect(sent.filter((name) => next.sent.includes(name)).length).toBeGreaterThan(0)
  })

  it('ends by itself when the outbox is polled again', async () => {
    await enabled(test)
    const [reader, standby] = [await start(), await start()]
    await until('one reads', () => reader.reads[0] === true || standby.reads[0] === true)
    await disableWal(test.switch)
    expect([await reader.ended, await standby.ended]).toEqual(['done', 'done'])
  })

  it('refuses to go on without its slot, in a sentence', async () => {
    await enabled(test)
    const reader = await start({ limits: { ...limits, backoffBaseMs: 1_000, backoffCapMs: 1_000 } })
    await until('it reads', () => reader.reads.length === 1)
    await until('the slot is dropped between two readings', async () => {
      const { slot } = await readWalHealth(test.db, test.slot)
      // The server looks for the end of the process every 100 ms; the reader must not be back by then.
      const drop = sql`
        select pg_terminate_backend(${slot!.activePid}::int, 2000), pg_drop_replication_slot(${test.slot})::text`
      return test.db.query(drop).then(
        () => true,
        () => false,
      )
    })
    expect(await reader.ended).toMatch(
      /slot .* cannot be used: it does not exist.*`likewise outbox wal disable`/,
    )
  })
})

describe('two relays and one slot', () => {
  it('one reads, the other stands by and takes over when the first stops', async () => {
    await enabled(test)
    const first = await start()
    await until('the first reads', () => first.reads[0] === true)
    const second = await start()
    await write(test.db, ['one'])
    await until('it is delivered', () => first.sent.length === 1)
    await pause(1_600)
    expect(second.reads).toEqual([])
    await first.stop()
    await write(test.db, ['two'])
    await until('the second delivers', () => second.sent.includes('two'), 5_000)
    expect(second.sent).toEqual(['two'])
  })

  it('takes over from a reader that fell silent, within the time the slot is kept for it', async () => {
    await enabled(test)
    const link = await silentLink(test.url)
    const first = await start({ url: link.url })
    await until('the first reads', () => first.reads[0] === true)
    const second = await start()
    link.freeze()
    await write(test.db, ['orphan'])
    await until('the second delivers', () => second.sent.includes('orphan'), 8_000)
    link.close()
  })
})

describe('changing between polling and the WAL under load', () => {
  it('loses nothing, and keeps first copies of a key in order', async () => {
    const relays = buildRelays(test)
    running.push(relays)
    const poll = () => relays.start({ limits: { pageRowsMax: 20, pageBytesMax: 900_000 } })
    const written: string[] = []
    const loading = new AbortController()
    const writers = [0, 1, 2, 3].map(async (writer) => {
      for (let i = 0; !loading.signal.aborted; i += 1) {
        const names = numbered(`w${writer}-${String(i).padStart(6, '0')}-`, 3)
        await test.db.tx(async (tx) => {
          await write(tx, names, `key-${writer}`)
        })
        written.push(...names)
      }
    })

    running.push({
      stop: async () => {
        loading.abort()
        await Promise.allSettled(writers)
      },
    })

    const first = poll()
    await until('polling has begun', () => relays.sent.length > 50)
    const acrossEnable = await openTx(test.db) // has written nothing when the slot is made
    await acrossEnable.tx.query(sql`select 1`)
    expect(await enableWal(test.switch)).toBe(true)
    await write(acrossEnable.tx, ['across-enable'], 'open')
    const reader = await start({ deliver: async (events) => relays.note(events) })
    await until('the slot is read', () => reader.reads[0] === true)
    await pause(300)
    await first.stop()
    const acrossDisable = await openTx(test.db)
    await write(acrossDisable.tx, ['across-disable'], 'open too')
    await pause(1_500)
    await acrossEnable.commit()
    await pause(500)
    expect(await disableWal(test.switch)).toBe(true)
    expect(await reader.ended).toBe('done')
    await freeShards()
    const second = poll()
    await pause(500)
    await acrossDisable.commit()
    loading.abort()
    await Promise.all(writers)
    written.push('across-enable', 'across-disable')
    await until('all is published', async () => (await unpublished(test.db)).length === 0)
    await second.stop()

    expect(relays.bugs).toEqual([])
    const names = new Set(relays.names())
    expect(written.filter((name) => !names.has(name))).toEqual([])
    for (const key of ['key-0', 'key-1', 'key-2', 'key-3']) {
      const ofKey = relays.firstCopies(key)
      expect(ofKey).toEqual([...ofKey].sort())
    }
  })
})

/** A link that can fall silent in both directions, its connections staying open. */
async function silentLink(target: string): Promise<{ url: string; freeze: () => void; close: () => void }> {
  const { hostname, port } = new URL(target)
  const sockets: Socket[] = []
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    sockets.push(client, upstream)
    client.pipe(upstream)
    upstream.pipe(client)
    for (const socket of [client, upstream]) socket.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = new URL(target)
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: url.href,
    freeze: () => {
      for (const socket of sockets) socket.unpipe().pause()
      server.close() // whoever comes anew is refused
    },
    close: () => {
      for (const socket of sockets) socket.destroy()
    },
  }
}
