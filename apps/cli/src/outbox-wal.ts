import type { Command } from 'commander'
import {
  type SlotHealth,
  type WalHealth,
  disableWal,
  enableWal,
  readWalHealth,
  slotFault,
} from '@likewise/outbox'
import { type Say, wholeNumber, withCatalog } from './catalog.ts'

/** `wal enable|disable|status` below the command `outbox`. */
export function addWalCommands(outbox: Command, say: Say): void {
  const wal = outbox.command('wal').description('publish from the write-ahead log instead of polling')
  const patience: [string, string, (text: string) => number, number] = [
    '--patience <seconds>',
    'how long to wait for open transactions, and for the relays',
    wholeNumber(99_999),
    120,
  ]
  wal
    .command('enable')
    .description('makes slot and publication, and changes over once polling has published what came before')
    .option(...patience)
    .action(({ patience: seconds }: { patience: number }) =>
      withCatalog(async (db, directUrl) => {
        const changed = await enableWal({ db, url: directUrl, patienceMs: seconds * 1_000, say })
        say(changed ? 'The outbox is read from the WAL now.' : 'The outbox is read from the WAL already.')
      }),
    )
  wal
    .command('disable')
    .description('goes back to polling, removes slot and publication; also mends a slot that was lost')
    .option(...patience)
    .action(({ patience: seconds }: { patience: number }) =>
      withCatalog(async (db, directUrl) => {
        const changed = await disableWal({ db, url: directUrl, patienceMs: seconds * 1_000, say })
        say(changed ? 'The outbox is polled now.' : 'The outbox is polled already, and there is no slot.')
      }),
    )
  wal
    .command('status')
    .description('mode, slot, and what it keeps; exits 1 when the slot cannot be used')
    .option('--json', 'machine-readable')
    .action(({ json }: { json?: boolean }) =>
      withCatalog(async (db) => {
        const health = await readWalHealth(db)
        const fault = slotFault(health)
        say(json ? asJson(health, fault) : showWal(health, fault))
        if (fault !== null) process.exitCode = 1
      }),
    )
}

function showWal({ mode, slot, publicationOk }: WalHealth, fault: string | null): string {
  const lines = [`mode          ${mode}`, `publication   ${publicationOk ? 'there' : 'none'}`]
  if (!slot) lines.push('slot          none')
  else {
    lines.push(
      `slot          ${slot.active ? `read by process ${String(slot.activePid)} of the server` : 'not read'}`,
      `behind        ${mebibytes(slot.lagBytes)}`,
      `keeps         ${mebibytes(slot.keptBytes)} of WAL (wal_status ${slot.walStatus ?? 'unknown'})`,
      `safe for      ${safety(slot)}`,
    )
    if (mode === 'poll')
      lines.push('', 'The slot keeps WAL that nobody reads: run `likewise outbox wal disable`.')
  }
  if (fault !== null) lines.push('', fault)
  return lines.join('\n')
}

function safety({ walStatus, safeWalSize }: SlotHealth): string {
  if (walStatus === 'lost') return 'nothing: it is lost'
  if (safeWalSize === null) return 'any amount of WAL: max_slot_wal_keep_size is not set'
  return `${mebibytes(safeWalSize)} of WAL more`
}

const mebibytes = (bytes: number | null): string =>
  bytes === null ? 'unknown' : `${(bytes / 1_048_576).toFixed(1)} MiB`

const asJson = (health: WalHealth, fault: string | null): string =>
  JSON.stringify({ ...health, fault }, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  )
