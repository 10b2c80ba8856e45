import { describe, expect, it } from 'vitest';
import { loadMapping } from '../../../src/config/connectors.ts';
import { canonicalKey, keyJson } from '../../../src/core/keys.ts';
import { type Mapping, tableByName, type TableMapping } from '../../../src/core/mapping.ts';
import { parseRepublishRequest } from '../../../src/core/messages.ts';
import { absentKeys, keyRequests, readingOf, restOfKeys, restOfRange } from '../../../src/core/republish.ts';

const mapping: Mapping = loadMapping('connectors');
function table(name: string): TableMapping {
  const found = tableByName(mapping, `public.${name}`);
  if (found === undefined) throw new RangeError(name);
  return found;
}
const uuid = '0a000000-0000-4000-8000-00000000000b';
const base = { v: 1 as const, table: 'public.entity', runId: 'r', reason: 'test' };

describe('a request to republish', () => {
  it.each<[string, object]>([
    ['keys', { ...base, keys: [[uuid]] }],
    ['a long key', { ...base, keys: [['x'.repeat(16_000)]] }],
    ['a range', { ...base, range: { after: null, upTo: [uuid] } }],
  ])('may name %s', (_, request) => {
    expect(parseRepublishRequest(Buffer.from(JSON.stringify(request)))).toEqual(request);
  });

  it.each<[string, string | Buffer]>([
    ['nothing', ''],
    ['no JSON', '{'],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
    ['another version', JSON.stringify({ ...base, v: 2, keys: [[uuid]] })],
    ['no keys', JSON.stringify({ ...base, keys: [] })],
    ['keys that are no text', JSON.stringify({ ...base, keys: [[1]] })],
    ['a key longer than any node has', JSON.stringify({ ...base, keys: [['x'.repeat(16_400)]] })],
    ['keys and a range', JSON.stringify({ ...base, keys: [[uuid]], range: { after: null, upTo: null } })],
    ['neither', JSON.stringify(base)],
  ])('of %s is not understood', (_, content) => {
    expect(parseRepublishRequest(Buffer.from(content))).toBeNull();
  });
});

describe('requests for keys', () => {
  it('list 1,000 each, and every key once', () => {
    const keys = Array.from({ length: 2001 }, (_, i) => [String(i)]);
    const { table, runId, reason } = base;
    const requests = keyRequests({ table }, keys, { runId, reason });
    expect(requests).toEqual(
      [keys.slice(0, 1000), keys.slice(1000, 2000), keys.slice(2000)].map((some) => ({
        ...base,
        keys: some,
      })),
    );
    expect(keyRequests({ table }, [], { runId, reason })).toEqual([]);
  });
});

describe('a reading', () => {
  const link = table('entity_extract');

  it('takes each key once, as PostgreSQL writes it, and remembers what was listed', () => {
    const keys = [[uuid.toUpperCase()], [uuid], [uuid], ['foreign']];
    expect(readingOf({ ...base, keys }, table('entity'))).toEqual({
      kind: 'keys',
      keys: [[uuid]],
      listed: [[uuid.toUpperCase()], [uuid], ['foreign']],
    });
    const numbers = [['007'], ['7'], ['-0'], ['9223372036854775808'], ['x']];
    expect(readingOf({ ...base, keys: numbers }, table('extract'))).toMatchObject({
      keys: [['7'], ['0']],
      listed: [['7'], ['0'], ['9223372036854775808'], ['x']],
    });
  });

  it('of more than 1,000 keys leaves the others to another request', () => {
    const keys = Array.from({ length: 1500 }, (_, i) => [String(i)]);
    const reading = readingOf({ ...base, keys }, table('extract'));
    expect(reading).toHaveProperty('keys', keys.slice(0, 1000));
    expect(restOfKeys({ ...base, keys }, [])).toEqual({ ...base, keys: keys.slice(1000) });
    expect(restOfKeys({ ...base, keys }, [['7']])).toEqual({ ...base, keys: [['7'], ...keys.slice(1000)] });
    expect(restOfKeys({ ...base, keys: [['7']] }, [])).toBeNull();
  });

  it('of a range goes on behind the last row', () => {
    const request = { ...base, range: { after: ['1'], upTo: null } };
    expect(readingOf(request, table('extract'))).toEqual({ kind: 'range', after: ['1'], upTo: null });
    expect(restOfRange(request, ['7'])).toEqual({ ...base, range: { after: ['7'], upTo: null } });
  });

  it.each<[string, object]>([
    ['keys of another length', { keys: [[uuid, '1']] }],
    ['a bound of another length', { range: { after: [uuid], upTo: null } }],
    ['a bound that is no key', { range: { after: null, upTo: [uuid, 'x', 'observed'] } }],
  ])('of %s does not fit', (_, what) => {
    expect(readingOf({ ...base, ...what } as never, link)).toBeNull();
  });

  it('finds that a listed key has no row', () => {
    const listed = [['007'], ['7'], ['8']];
    expect(absentKeys(table('extract'), listed, [['7']], false)).toEqual({
      absent: [['007'], ['8']],
      unread: [],
    });
  });

  it('of too many bytes leaves a key whose row was not read to another request', () => {
    const listed = [[uuid.toUpperCase()], [uuid], ['foreign']];
    const entity = table('entity');
    expect(absentKeys(entity, listed, [[uuid]], true)).toEqual({
      absent: [[uuid.toUpperCase()]],
      unread: [['foreign']],
    });
    expect(absentKeys(entity, listed, [], true)).toEqual({ absent: [], unread: listed });
  });
});

describe('a key', () => {
  it.each<[string, string, string[], string[] | null]>([
    ['text that PostgreSQL cannot hold', 'entity_extract', [uuid, '1', 'a\0'], null],
    ['half a character', 'entity_extract', [uuid, '1', '\ud800'], null],
    ['any other text', 'entity_extract', [uuid, '1', '😀"'], [uuid, '1', '😀"']],
    ['an integer beyond 64 bits', 'extract', ['-9223372036854775809'], null],
    ['the lowest integer', 'extract', ['-9223372036854775808'], ['-9223372036854775808']],
    ['a uuid in braces', 'entity', [`{${uuid}}`], null],
  ])('of %s', (_, name, parts, canonical) => {
    expect(canonicalKey(table(name).key, parts)).toEqual(canonical);
  });

  it('is written as in the record of its row, whatever it is', () => {
    const { key } = table('extract');
    expect(keyJson(key, ['7'])).toBe('{"id":7}');
    expect(keyJson(key, ['9223372036854775807'])).toBe('{"id":"9223372036854775807"}');
    expect(keyJson(key, ['007'])).toBe('{"id":"007"}');
    expect(keyJson(table('entity').key, ['"\0'])).toBe('{"id":"\\"\\u0000"}');
  });
});
