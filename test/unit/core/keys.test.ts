/** Keys as text: what is one, and what would be read as another one. */
import { expect, it } from 'vitest';
import { textsIn } from '../../../src/core/keys.ts';

it.each([
  ['["a","b"]', ['a', 'b']],
  ['["9223372036854775807",""]', ['9223372036854775807', '']],
  ['[1,-9007199254740991]', ['1', '-9007199254740991']],
])('%s is a composite key', (json, parts) => {
  expect(textsIn(json)).toEqual(parts);
});

it.each([
  ['a number that is rounded', '["a",9007199254740993]'],
  ['the first number that another one is rounded to', '["a",9007199254740992]'],
  ['a fraction', '["a",1.5]'],
  ['null', '["a",null]'],
  ['an object', '["a",{"b":1}]'],
  ['an array', '["a",["b"]]'],
  ['a truth value', '["a",true]'],
  ['no array', '{"a":"b"}'],
  ['no JSON', 'a,b'],
  ['no text', 7n],
])('%s is in none', (_, json) => {
  expect(textsIn(json)).toBeNull();
});
