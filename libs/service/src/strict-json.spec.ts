import { describe, expect, it } from '@jest/globals'
import fc from 'fast-check'
import { faultOfJson } from './strict-json.ts'

const faultOf = (text: string) => faultOfJson(text, JSON.parse(text))

describe('JSON that is read the same by everybody', () => {
  it.each([
    '{"userId":1,"productId":100}',
    ' { "a" : [ 1 , -2.5 , 1e3, 1.50, 0.0, -0, 0e9, 120e-1 ] } ',
    '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}',
    '{"a:b":"c:d","\\"":"\\\\","e1":"1.5"}',
    '"\\u00e9\\ud83d\\ude00"',
    '9007199254740991.0',
    '1.5',
    '0.00001',
    'null',
  ])('has no fault: %s', (text) => {
    expect(faultOf(text)).toBeUndefined()
  })

  it('has none, whatever the value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value)
        fc.pre(!/\\u0000|\\ud[89a-f]/.test(text) && !text.includes('__proto__'))
        expect(faultOf(text)).toBeUndefined()
        expect(faultOf(JSON.stringify(value, undefined, 2))).toBeUndefined()
      }),
    )
  })
})

describe('JSON that is not', () => {
  it.each([
    ['{"userId":1,"userId":2}', /comes twice/],
    ['{"userId":1,"\\u0075serId":2}', /comes twice/],
    ['[{"a":{"b":1,"c":2,"b":3}}]', /comes twice/],
    ['{"userId":9007199254740991.4}', /9007199254740991\.4 cannot be read exactly/],
    ['[1.00000000000000001]', /cannot be read exactly/],
    ['{"a":10000000000000000001e-1}', /cannot be read exactly/],
    ['1e-400', /cannot be read exactly/],
    ['"\\u0000"', /NUL/],
    ['{"\\u0000":1}', /NUL/],
    ['"\\ud800"', /half of a character/],
    ['["\\udc00\\ud800"]', /half of a character/],
    ['{"a":["x",{"\\udfff":1}]}', /half of a character/],
  ])('is told of: %s', (text, fault) => {
    expect(faultOf(text)).toMatch(fault)
  })

  it('is found below 16,000 arrays', () => {
    const deep = (inner: string) => `${'['.repeat(16_000)}${inner}${']'.repeat(16_000)}`
    expect(faultOf(deep('{"a":1}'))).toBeUndefined()
    expect(faultOf(deep('{"a":1,"a":1}'))).toMatch(/twice/)
  })

  it('does not repeat a number of any length', () => {
    expect(faultOf(`1.${'0'.repeat(10_000)}1`)?.length).toBeLessThan(100)
  })
})
