import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonTextAt } from '../../../src/core/json-text.ts';

describe('a value lifted out of JSON text', () => {
  it.each([
    ['{"a":"x"}', ['a'], 'x'],
    ['{"a":12345678901234567890.120}', ['a'], '12345678901234567890.120'],
    ['{"a":null}', ['a'], null],
    ['{"a":true}', ['a'], 'true'],
    ['{"b":1}', ['a'], null],
    ['{"a": {"b": [1, "}"]}, "c": 2}', ['a'], '{"b": [1, "}"]}'],
    ['{"a": {"b": [1, 2]}}', ['a', 'b'], '[1, 2]'],
    ['{"a": 1, "a": 2}', ['a'], '2'],
    [String.raw`{"a\"b": "q\\", "c": "\u0041\""}`, ['c'], 'A"'],
    [String.raw`{"\u0061": "x"}`, ['a'], 'x'],
    ['{"__proto__": "p"}', ['__proto__'], 'p'],
    ['[1]', ['0'], null],
    ['"text"', ['a'], null],
    ['{"a":"unfinished', ['a'], null],
    ['{}', ['a'], null],
    ['', ['a'], null],
  ])('%s at %j is %j', (json, path, expected) => {
    expect(jsonTextAt(json, path)).toBe(expected);
  });

  it('equals what a parser finds, for any document and spacing', () => {
    const document = fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 });
    fc.assert(
      fc.property(document, fc.constantFrom(0, 1, 2), fc.nat(), (value, indent, pick) => {
        const json = JSON.stringify(value, null, indent);
        const parsed = JSON.parse(json) as Record<string, unknown>;
        const keys = Object.keys(parsed);
        const key = keys[pick % keys.length] ?? '';
        const found = jsonTextAt(json, [key]);
        const expected = parsed[key];
        if (expected === null) expect(found).toBeNull();
        else if (typeof expected === 'string') expect(found).toBe(expected);
        else expect(JSON.parse(found ?? '')).toEqual(expected);
      }),
    );
  });
});
