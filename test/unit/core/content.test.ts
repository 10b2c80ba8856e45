import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadMapping } from '../../../src/config/connectors.ts';
import {
  type Content,
  contentOfNode,
  contentOfRelationship,
  contentOfRow,
  differing,
} from '../../../src/core/content.ts';
import { diffOf, isoMicros } from '../../../src/core/content-diff.ts';
import type { WireRow } from '../../../src/core/envelope.ts';
import { graphKey, partsOf } from '../../../src/core/keys.ts';
import { type TableMapping, tableByName } from '../../../src/core/mapping.ts';

const mapping = loadMapping('connectors');
function tableOf(name: string): TableMapping {
  const found = tableByName(mapping, name);
  if (found === undefined) throw new RangeError(name);
  return found;
}
const [entity, extract, relation, link] = ['entity', 'extract', 'relation', 'entity_extract'].map((name) =>
  tableOf(`public.${name}`),
) as [TableMapping, TableMapping, TableMapping, TableMapping];

const A = '00000000-0000-4000-8000-00000000000a';
const B = '00000000-0000-4000-8000-00000000000b';
const at = '1970-01-01T00:00:00.000001Z';

const entityRow: WireRow = {
  id: A,
  type: 'ttp',
  data: '{"title": "T"}',
  meta: '{}',
  created_at: 'infinity',
  last_updated_at: at,
};
const entityNode = {
  id: A,
  type: 'ttp',
  title: 'T',
  data: '{"title": "T"}',
  meta: '{}',
  created_at: 9_223_372_036_854_775_807n,
  last_updated_at: 1n,
  _position: 'p',
};
const extractRow: WireRow = {
  id: 7,
  kind: 'ipv4',
  value: '1',
  meta: '{}',
  created_at: at,
  last_updated_at: at,
};
const extractNode = { id: 7n, kind: 'ipv4', value: '1', meta: '{}', created_at: 1n, last_updated_at: 1n };
const relationRow: WireRow = {
  id: A,
  key: 'uses',
  subtype: null,
  source_id: A,
  target_id: B,
  last_updated_at: at,
};
const related = { id: A, key: 'uses', last_updated_at: 1n };
const linkRow: WireRow = { entity_id: A, extract_id: 7, link_type: 'seen', last_updated_at: at };
const linked = { _key: `["${A}","7","seen"]`, link_type: 'seen', last_updated_at: 1n };
const observedRow: WireRow = { ...linkRow, link_type: 'observed' };
const observed = { _key: `["${A}","7","observed"]`, last_updated_at: 1n };

describe('of a row and what the graph holds of it differ', () => {
  it.each<[string, TableMapping, WireRow, Content, string[]]>([
    ['nothing', entity, entityRow, contentOfNode(['Ttp'], entityNode), []],
    ['a text', entity, entityRow, contentOfNode(['Ttp'], { ...entityNode, title: 't' }), ['title']],
    [
      'a text that is not in the graph',
      entity,
      entityRow,
      contentOfNode(['Ttp'], { ...entityNode, title: null }),
      ['title'],
    ],
    [
      'a text that is null in the row',
      entity,
      entityRow,
      contentOfNode(['Ttp'], { ...entityNode, tlp: 'RED' }),
      ['tlp'],
    ],
    ['no null that is missing', entity, entityRow, contentOfNode(['Ttp'], { ...entityNode, tlp: null }), []],
    [
      'a property that is not mapped',
      entity,
      entityRow,
      contentOfNode(['Ttp'], { ...entityNode, mine: 1n }),
      ['mine'],
    ],
    ['no internal property', entity, entityRow, contentOfNode(['Ttp'], { ...entityNode, _lock: true }), []],
    [
      'an integer from a float',
      entity,
      entityRow,
      contentOfNode(['Ttp'], { ...entityNode, last_updated_at: 1 }),
      ['last_updated_at'],
    ],
    [
      'an integer from its text',
      entity,
      entityRow,
      contentOfNode(['Ttp'], { ...entityNode, last_updated_at: '1' }),
      ['last_updated_at'],
    ],
    ['the label of another type', entity, entityRow, contentOfNode(['Indicator'], entityNode), ['labels()']],
    ['a label too many', entity, entityRow, contentOfNode(['Ttp', 'Indicator'], entityNode), ['labels()']],
    ['a label that is missing', entity, entityRow, contentOfNode([], entityNode), ['labels()']],
    [
      'nothing of a type that has no label',
      entity,
      { ...entityRow, type: 'weather' },
      contentOfNode([], { ...entityNode, type: 'weather' }),
      [],
    ],
    ['nothing of an integer key', extract, extractRow, contentOfNode([], extractNode), []],
    [
      'a key that is a float, which Cypher finds by its integer',
      extract,
      extractRow,
      contentOfNode([], { ...extractNode, id: 7 }),
      ['id'],
    ],
    [
      'nothing of a relationship',
      relation,
      relationRow,
      contentOfRelationship('RELATED', [A, B], related),
      [],
    ],
    ['an end', relation, relationRow, contentOfRelationship('RELATED', [A, A], related), ['endNode()']],
    [
      'both ends, turned round',
      relation,
      relationRow,
      contentOfRelationship('RELATED', [B, A], related),
      ['endNode()', 'startNode()'],
    ],
    [
      'an end that is no such node',
      relation,
      relationRow,
      contentOfRelationship('RELATED', [null, B], related),
      ['startNode()'],
    ],
    [
      'the properties of a relationship',
      relation,
      relationRow,
      contentOfRelationship('RELATED', [A, B], { ...related, key: 'used', subtype: 's' }),
      ['key', 'subtype'],
    ],
    ['nothing of a composite key', link, linkRow, contentOfRelationship('LINKED', [A, 7n], linked), []],
    ['nothing of a listed type', link, observedRow, contentOfRelationship('OBSERVED', [A, 7n], observed), []],
    ['the type', link, observedRow, contentOfRelationship('SIGHTED', [A, 7n], observed), ['type()']],
    [
      'a property of another type',
      link,
      observedRow,
      contentOfRelationship('OBSERVED', [A, 7n], { ...observed, link_type: 'observed' }),
      ['link_type'],
    ],
    [
      'a composite key, internal as its name is',
      link,
      linkRow,
      contentOfRelationship('LINKED', [A, 7n], { ...linked, _key: '[]' }),
      ['_key'],
    ],
    [
      'everything, if the row cannot be projected',
      relation,
      { ...relationRow, target_id: null },
      contentOfRelationship('RELATED', [A, B], { id: A }),
      ['endNode()', 'id', 'row()', 'startNode()', 'type()'],
    ],
  ])('%s', (_, table, row, found, names) => {
    expect(differing(contentOfRow(row, table), found)).toEqual(names);
  });

  const scalar = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.bigInt({ min: -3n, max: 3n }),
    fc.integer({ min: -3, max: 3 }),
    fc.boolean(),
    fc.constant(null),
  );
  it('exactly the properties that were changed', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom(...Object.keys(entityNode), 'other', '_own'), scalar),
        (changes) => {
          const found = contentOfNode(['Ttp'], { ...entityNode, ...changes });
          const right: Readonly<Record<string, unknown>> = entityNode;
          const wrong = Object.entries(changes).filter(
            // Unlike `===`, tells null from undefined; which a property that is not mapped must not.
            ([name, value]) => !name.startsWith('_') && !Object.is(value, right[name] ?? null),
          );
          expect(differing(contentOfRow(entityRow, entity), found)).toEqual(
            wrong.map(([name]) => name).sort(),
          );
        },
      ),
    );
  });
});

describe('a key in the graph', () => {
  it.each<[string, TableMapping, unknown, readonly string[] | null]>([
    ['of text', entity, 'Foreign', ['Foreign']],
    ['of an integer', extract, 7n, ['7']],
    ['of foreign text where keys are integers', extract, 'x', ['x']],
    ['of composite text', link, `["${A}","7","seen"]`, [A, '7', 'seen']],
    ['of foreign composite text', link, '["x","y","z"]', ['x', 'y', 'z']],
    ['of text that would be taken for an integer', extract, '7', null],
    ['of an integer where keys are text', entity, 7n, null],
    ['of a float', extract, 7, null],
    ['of nothing', entity, null, null],
    ['of no list', link, '{"a": 1}', null],
    ['of too few parts', link, '["a","1"]', null],
    ['of a list that is written otherwise', link, '["a", "1", "b"]', null],
    ['of a list with an integer that is written otherwise', link, '["a","01","b"]', null],
    ['of a list of numbers', link, '["a",1,"b"]', null],
    ['of what is no JSON', link, 'a 1 b', null],
  ])('%s is named by its parts, or by none', (_, table, stored, parts) => {
    expect(partsOf(table.key, stored)).toEqual(parts);
    if (parts !== null) expect(graphKey(table.key, parts)).toBe(stored);
  });
});

describe('a difference is shown', () => {
  const side = (micros: bigint | null, fields: Readonly<Record<string, unknown>>) => ({
    micros,
    content: new Map(Object.entries(fields)),
  });

  it('with both sides of each field, and the type where only that differs', () => {
    const source = side(1_706_702_400_500_001n, { title: 'T', gone: 'x', same: 1n, when: 5n, list: null });
    const graph = side(null, { title: 't', same: 1n, when: '5', more: 2, list: [1n, 'b'] });
    expect(diffOf(source, graph)).toEqual({
      fields: {
        gone: { neo4j: null, postgresql: 'x' },
        list: { neo4j: '["1","b"]', postgresql: null },
        more: { neo4j: '2', postgresql: null },
        title: { neo4j: 't', postgresql: 'T' },
        when: { neo4j: '5 (STRING)', postgresql: '5' },
      },
      last_updated_at_neo4j: null,
      last_updated_at_postgresql: '2024-01-31T12:00:00.500001Z',
    });
  });

  it('cut to 200 characters, beginning shortly before the two part, and never in the middle of a character', () => {
    const long = 'a'.repeat(300);
    const of = (postgresql: string, neo4j: string) =>
      diffOf(side(0n, { x: postgresql }), side(0n, { x: neo4j })).fields['x'];
    expect(of(long, 'b')).toEqual({ postgresql: `${'a'.repeat(200)}…`, neo4j: 'b' });
    expect(of(`${long}b${long}`, `${long}c`)).toEqual({
      postgresql: `…${'a'.repeat(40)}b${'a'.repeat(159)}…`,
      neo4j: `…${'a'.repeat(40)}c`,
    });
    expect(of(`${'a'.repeat(199)}🦊`, 'b')?.postgresql).toBe(`${'a'.repeat(199)}…`);
    expect(of('a'.repeat(200), 'b')?.postgresql).toBe('a'.repeat(200));
  });

  it.each([
    [0n, '1970-01-01T00:00:00.000000Z'],
    [-1n, '1969-12-31T23:59:59.999999Z'],
    [1_706_702_400_500_001n, '2024-01-31T12:00:00.500001Z'],
    [9_223_372_036_854_775_807n, 'infinity'],
    [-9_223_372_036_854_775_808n, '-infinity'],
    [9_223_372_036_854_775_000n, '9223372036854775000 µs'],
    [null, null],
  ])('%s µs as %s', (micros, text) => {
    expect(isoMicros(micros)).toBe(text);
  });
});
