import { describe, expect, it } from 'vitest';
import { compileMapping } from '../../src/core/mapping.ts';
import { sinkFile, sourceFile, type TableFile } from '../../src/core/mapping-schema.ts';
import { quote } from '../../src/neo4j/cypher.ts';
import { statementsOf } from '../../src/neo4j/statements.ts';
import { testMapping } from '../support/test-mapping.ts';

const HOSTILE = [
  '`',
  '``',
  '`) DETACH DELETE n //',
  '\\u0060',
  '\\`',
  "'",
  '"',
  '$rows',
  '{',
  '\n',
  'a b',
  '\u202e',
  '',
];

describe('quote', () => {
  it.each(HOSTILE)('%j has no end inside', (name) => {
    const quoted = quote(name);
    expect(quoted.startsWith('`') && quoted.endsWith('`')).toBe(true);
    expect(quoted.slice(1, -1).replaceAll('``', '')).not.toContain('`');
    expect(quoted.slice(1, -1).replaceAll('``', '`')).toBe(name);
  });
});

describe('statements', () => {
  const { mapping } = testMapping('unit');
  const tables = [...statementsOf(mapping).values(), ...statementsOf(mapping, 'unmoved').values()];
  const all = tables.flatMap((table) => [
    ...(table.kind === 'node'
      ? [table.upsert, table.remove]
      : [...table.byType.values()].flatMap((t) => [t.upsert, t.thorough, t.remove])),
    ...table.truncate.flatMap(({ first, next }) => [first, next]),
  ]);

  it('lock before they compare, and read what they compare where it stands', () => {
    expect(all.length).toBe(56);
    for (const statement of all) {
      const lock = statement.search(/REMOVE [nr]\d?\._lock/);
      const compared = statement.lastIndexOf('[$now._position]');
      expect(lock).toBeGreaterThan(0);
      expect(compared).toBeGreaterThan(lock);
      expect(statement).not.toMatch(/\b(?!row)\w+\['/);
      expect(statement.replaceAll('SET n._position', '')).not.toMatch(/[nr]\._position/);
    }
  });

  it('that look under every type of a table lock all that they find before they compare any of it', () => {
    const links = tables.filter(({ parameters }) => parameters.table === 'public.entity_extract');
    const thorough = links.flatMap((table) =>
      table.kind === 'node' ? [] : [...table.byType.values()].flatMap((t) => [t.thorough, t.remove]),
    );
    expect(new Set(thorough).size).toBe(8);
    for (const statement of thorough) {
      const locks = [...statement.matchAll(/REMOVE r\d?\._lock/g)];
      expect(locks).toHaveLength(3);
      expect(statement.indexOf('[$now._position]')).toBeGreaterThan(locks.at(-1)?.index ?? Infinity);
    }
  });

  it('of a table with one type are the same however thorough', () => {
    for (const table of tables) {
      if (table.kind === 'relationship' && table.byType.size > 1) continue;
      const own = table.kind === 'node' ? [table] : [...table.byType.values()];
      for (const { upsert, thorough } of own) expect(thorough).toBe(upsert);
    }
  });

  it('keep their shape whatever a mapping names', () => {
    const shape = (names: readonly string[]) => {
      const [label = '', type = '', property = '', typeLabel = ''] = names;
      const statements = [...statementsOf(mappingNamed(label, type, property, typeLabel)).values()];
      return JSON.stringify(
        statements.map(({ target: _target, parameters: _parameters, ...rest }) => ({
          ...rest,
          byType: 'byType' in rest ? [...rest.byType.values()] : [],
        })),
      ).replaceAll(/`(?:[^`\\]|``|\\.)*`/g, '`name`');
    };
    const plain = shape(['A', 'B', 'c', 'D']);
    for (const name of HOSTILE) expect(shape([`A${name}`, `B${name}`, `c${name}`, `D${name}`])).toBe(plain);
  });
});

/** Past the schema's own check of names, as if it were not there. */
function mappingNamed(
  label: string,
  type: string,
  property: string,
  typeLabel: string,
): Parameters<typeof statementsOf>[0] {
  const table = (content: Omit<TableFile, '$schema'>) => ({ file: content.table, content });
  return compileMapping({
    source: {
      file: 's',
      content: sourceFile.parse({
        slot: 's',
        publication: 'p',
        topicPrefix: 't',
        tables: ['public.a', 'public.b'],
      }),
    },
    sink: { file: 'k', content: sinkFile.parse({ namespace: 'n', consumerGroupPrefix: 'g' }) },
    tables: [
      table({
        table: 'public.a',
        key: { id: 'text' },
        node: {
          label,
          labels: { column: 'type', values: { x: typeLabel } },
          properties: { id: { column: 'id' }, [property]: { column: 'c' } },
        },
      }),
      table({
        table: 'public.b',
        key: { id: 'text' },
        relationship: {
          type,
          from: { label, column: 'f' },
          to: { label, column: 't' },
          properties: { [property]: { column: 'c' } },
        },
      }),
    ],
  }).mapping;
}
