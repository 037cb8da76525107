import { describe, expect, it } from '@jest/globals'
import { buildTelemetry } from './telemetry.ts'
import { version } from './version.ts'

describe('buildTelemetry', () => {
  it('says in Prometheus text what runs here and how the process feels', async () => {
    const telemetry = buildTelemetry('like-api')
    const text = await telemetry.text()
    expect(text).toContain(`likewise_build_info{service="like-api",version="${version}"} 1`)
    expect(text).toContain('process_cpu_user_seconds_total')
    expect(telemetry.contentType).toMatch(/^text\/plain/)
  })

  it('shows counters, gauges and histograms with their labels', async () => {
    const telemetry = buildTelemetry('outbox-relay')
    telemetry.counter('likewise_events_total', 'Events.', ['shard']).inc({ shard: 3 }, 2)
    telemetry.gauge('likewise_backlog_events', 'Backlog.').set(7)
    telemetry.histogram('likewise_page_seconds', 'Page.', [0.1, 1]).observe(0.5)
    const text = await telemetry.text()
    expect(text).toContain('likewise_events_total{shard="3"} 2')
    expect(text).toContain('likewise_backlog_events 7')
    expect(text).toContain('likewise_page_seconds_bucket{le="1"} 1')
  })

  it('keeps the numbers of two services in one process apart', async () => {
    const one = buildTelemetry('one')
    one.counter('likewise_events_total', 'Events.').inc()
    expect(await buildTelemetry('two').text()).not.toContain('likewise_events_total')
  })
})
