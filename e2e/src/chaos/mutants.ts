import type { Patch } from '../faults/patched.ts'

/**
 * Bugs that others have had, each a change of one place in the compiled services. What they break is found only with the
 * fault that exposes them: see mutants.faults.spec.ts.
 */

/** The cursor moves, and then the page is sent. */
export const settleFirst: Patch = {
  file: 'libs/outbox/dist/together.js',
  from: 'const begunMs = performance.now();',
  to: 'await settleWhole(db, owner, own); const begunMs = performance.now();',
}

/** What comes next is what has a greater xid than all that was published: rows that commit late are never looked for. */
export const greaterOnly: Patch = {
  file: 'libs/outbox/dist/cursors.js',
  from: 'e.xid >= open.xid and e.xid <= open.xid',
  to: 'e.xid > open.xid and e.xid < open.xid',
}

/** A page that waited is sent from its end. */
export const backwards: Patch = {
  file: 'libs/outbox/dist/together.js',
  from: 'own.flatMap(({ events }) => events ?? [])',
  to: 'own.flatMap(({ events }) => [...(events ?? [])].reverse())',
}

/** An outage counts as the fault of its event, which is given up after three attempts. */
export const retryBudget: Patch = {
  file: 'libs/outbox/dist/shard.js',
  from: "error instanceof Failure && error.code === 'EVENT_REFUSED'",
  to: 'error instanceof Failure',
}

/** A commit is told before it is on disk. */
export const asynchronousCommit: Patch = {
  file: 'libs/database/dist/connection.js',
  from: "synchronous_commit: 'on'",
  to: "synchronous_commit: 'off'",
}

/** Events are remembered and the offset is marked, and the work is done afterwards. */
export const rememberFirst: Patch = {
  file: 'libs/inbox/dist/piece.js',
  from: 'const taken = await take(db, pieces[0].scope, { ...wanted, on: { marks, nowMs }, workWithin });',
  to: `const taken = await take(db, pieces[0].scope, { ...wanted, on: { marks, nowMs } });
    if (taken !== 'blocked') setImmediate(() => void db.tx((later) => pieces[0].work(later, taken.fresh)));`,
}

/** The offset is marked first, then events are remembered and the work is done. */
export const markFirst: Patch = {
  file: 'libs/inbox/dist/piece.js',
  from: 'const taken = await take(db, pieces[0].scope, { ...wanted, on: { marks, nowMs }, workWithin });',
  to: `const taken = await take(db, pieces[0].scope, { ...wanted, events: [], on: { marks, nowMs } });
    if (taken !== 'blocked') setImmediate(() => void db.tx(async (later) =>
      pieces[0].work(later, (await take(later, pieces[0].scope, { events: wanted.events, keys: [], goals: [] })).fresh)));`,
}

/** That an event was handled before is not looked at. */
export const noMemory: Patch = {
  file: 'libs/metrics/dist/apply.js',
  from: 'join fresh using (event_id)',
  to: '',
}

/** Where the group has no offset, reading starts at the end. */
export const fromTheEnd: Patch = {
  file: 'libs/kafka/dist/member.js',
  from: 'fromBeginning: true',
  to: 'fromBeginning: false',
}

/** Kafka is told before the batch is handled. Harmless here: the mark in the database decides. */
export const offsetsFirst: Patch = {
  file: 'libs/kafka/dist/batch.js',
  from: 'const readFrom = await beating(',
  to: `await payload.commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition, offset: String(BigInt(payload.batch.lastOffset()) + 1n) }] }] });
            const readFrom = await beating(`,
}
