// npm run test:faults: every fault of the relay and of the consumer, also those that take minutes (e2e/src/faults), and bugs
// that are planted in the services (e2e/src/chaos). Like npm test, it starts its own servers; options go to jest, e.g.
// npm run test:faults -- -t 'is down for'
//   RELAY_SOURCE=wal, KAFKA_CLIENT=platformatic   the relay's faults over the other source, with the other client
//   FAULTS_BROKER_DOWN_MS   how long the broker is down in the longest of them; 10 minutes unless set
process.env.LIKEWISE_TEST_FAULTS = 'true'
process.argv.splice(2, 0, 'e2e/src/faults', 'e2e/src/chaos')
await import('./test.mjs')
