import type { BenchReport } from './bench-report.ts'

/**
 * What `likewise size` reckons with unless it is given a file: README, "Figures" (rates and memory, medians of a quiet day), and
 * `npm run bench -- storage` (bytes, which no load changes). One virtual machine with everything on it: a service alone on its
 * cores does more. Renew it with README's table.
 */
export const shippedFigures: BenchReport = {
  machine: {
    cpu: 'AMD EPYC',
    cores: 2,
    memoryMb: 24_106,
    node: '20.20.2',
    postgres: '18.4',
    kafka: '4.3.1',
  },
  date: '2026-11-28T09:05:33.786Z',
  commit: '151e620',
  parts: [
    { name: 'api.likes', value: 10_500 },
    { name: 'api.rss', value: 137 },
    { name: 'relay.drain', value: 50_200 },
    { name: 'relay.rss', value: 147 },
    { name: 'consumer.drain', value: 44_000 },
    { name: 'consumer.hotKey', value: 35_900 },
    { name: 'consumer.rss', value: 147 },
    { name: 'storage.like', value: 94.9 },
    { name: 'storage.outboxEvent', value: 403 },
    { name: 'storage.handledEvent', value: 172 },
    { name: 'storage.record', value: 297 },
    { name: 'storage.bucket', value: 262 },
    { name: 'storage.product', value: 221 },
  ],
}
