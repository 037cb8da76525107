import { createRequire } from 'node:module'
import { type FetchAnswer, type FetchRequest, buildFetchAhead } from './fetch-ahead.ts'
import { quickenFetch } from './kafkajs-fetch.ts'
import { quickenProduce } from './kafkajs-produce.ts'

type Fetch = (request: FetchRequest) => Promise<FetchAnswer>

const load = createRequire(import.meta.url)
const Broker = load('kafkajs/src/broker') as { prototype: { fetch: Fetch } }
const fetchAsShipped = Broker.prototype.fetch

/** Lets kafkajs write and read records with code of ours, and fetch ahead, in this process and for good. */
export function quickenKafkajs(): void {
  quickenProduce()
  quickenFetch()
  fetchAhead()
}

/** A client asks each of its brokers by itself, one fetch after the other. */
function fetchAhead(): void {
  const fetches = new WeakMap<object, Fetch>()
  Broker.prototype.fetch = function (this: object, request) {
    const known = fetches.get(this)
    const fetch =
      known ??
      buildFetchAhead<FetchRequest, FetchAnswer>(
        (one) => fetchAsShipped.call(this, one),
        () => performance.now(),
      )
    if (!known) fetches.set(this, fetch)
    return fetch(request)
  }
}
