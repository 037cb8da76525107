import { describe, expect, it } from '@jest/globals'
import { consumerParts, readArguments, relayParts } from './arguments.ts'

describe('the arguments of a benchmark', () => {
  it('mean everything where none are given: three times', () => {
    expect(readArguments([])).toEqual({
      areas: ['relay', 'consumer', 'e2e', 'api', 'pooler', 'storage'],
      relayParts,
      consumerParts,
      peers: [],
      repeats: 3,
      long: false,
      jsonFile: undefined,
    })
  })

  it('choose areas, all parts of one, or some of them', () => {
    expect(readArguments(['e2e', 'consumer'])).toMatchObject({
      ...{ areas: ['consumer', 'e2e'], relayParts: [], consumerParts },
    })
    expect(readArguments(['consumer.hotKey', 'relay.idle'])).toMatchObject({
      ...{ areas: ['relay', 'consumer'], relayParts: ['idle'], consumerParts: ['hotKey'] },
    })
    expect(readArguments(['relay'])).toMatchObject({ areas: ['relay'], relayParts })
    expect(readArguments(['relay.retained', 'relay.latency', 'e2e'])).toMatchObject({
      areas: ['relay', 'e2e'],
      relayParts: ['latency', 'retained'],
    })
    expect(readArguments(['relay', 'relay.idle']).relayParts).toEqual(relayParts)
  })

  it('repeat everything as often as told', () => {
    expect(readArguments(['relay', '--repeats', '2', '--long', '--json', 'out.json'])).toMatchObject({
      repeats: 2,
      long: true,
      jsonFile: 'out.json',
    })
  })

  it('take a peer only beside the drain that it is compared with', () => {
    expect(readArguments(['relay.drain', '--peer', 'debezium']).peers).toEqual(['debezium'])
    for (const args of [['relay.latency'], ['e2e']]) {
      expect(() => readArguments([...args, '--peer', 'debezium'])).toThrow('beside relay.drain')
    }
    expect(() => readArguments(['--peer', 'canal'])).toThrow('no peer canal')
  })

  it.each([
    [['relays'], 'There is no benchmark relays.'],
    [['relay.p50'], 'There is no benchmark relay.p50.'],
    [['--repeats', '0'], '--repeats is "0"; it must be 1 to 20.'],
    [['--repeats', 'many'], '--repeats is "many"; it must be 1 to 20.'],
    [['--short'], "Unknown option '--short'"],
  ])('refuse %j with the usage', (args, sentence) => {
    expect(() => readArguments(args)).toThrow(sentence)
    expect(() => readArguments(args)).toThrow('Usage: npm run bench')
  })
})
