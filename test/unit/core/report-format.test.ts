import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reportOf } from '../../../src/core/check-report.ts';
import { type SpoolLine, stateOf } from '../../../src/core/check-spool.ts';
import {
  type Field,
  type Fields,
  formatJson,
  formatText,
  type Json,
} from '../../../src/core/report-format.ts';
import { driftIn, wholeGraphOf } from '../../../src/core/whole-graph.ts';

async function* given<T>(items: readonly T[]): AsyncGenerator<T> {
  for (const item of items) yield await Promise.resolve(item);
}
async function written(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}

type Plain = number | { list: Json[] } | { entries: [string, Json][] } | { fields: Record<string, Plain> };
function fieldOf(plain: Plain): Field {
  if (typeof plain === 'number') return plain;
  if ('list' in plain) return { count: plain.list.length, items: () => given(plain.list) };
  if ('entries' in plain) return { count: plain.entries.length, entries: () => given(plain.entries) };
  return Object.fromEntries(Object.entries(plain.fields).map(([name, field]) => [name, fieldOf(field)]));
}
function valueOf(plain: Plain): unknown {
  if (typeof plain === 'number') return plain;
  if ('list' in plain) return plain.list;
  if ('entries' in plain) return Object.fromEntries(plain.entries);
  return Object.fromEntries(Object.entries(plain.fields).map(([name, field]) => [name, valueOf(field)]));
}

const json = fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>;
const name = fc.stringMatching(/^[a-z"\\\n]{1,4}$/);
const { field } = fc.letrec<{ field: Plain }>((tie) => ({
  field: fc.oneof(
    { depthSize: 'small' },
    fc.integer(),
    fc.record({ list: fc.array(json) }),
    fc.record({ entries: fc.uniqueArray(fc.tuple(name, json), { selector: ([key]) => key }) }),
    fc.record({ fields: fc.dictionary(name, tie('field'), { minKeys: 1 }) }),
  ),
}));

describe('a report', () => {
  it('is written as JSON.stringify would, whatever is in it', () =>
    fc.assert(
      fc.asyncProperty(fc.dictionary(name, field, { minKeys: 1 }), async (plain) => {
        const report = fieldOf({ fields: plain }) as Fields;
        const expected = JSON.stringify(valueOf({ fields: plain }), null, 2);
        expect(await written(formatJson(report))).toBe(`${expected}\n`);
      }),
    ));

  it('has as text a line per scalar, however many lines that has', async () => {
    const report: Fields = {
      ids: { count: 2, items: () => given(['a', ['b', '1']]) },
      n: 1,
      part: {
        diffs: {
          count: 1,
          entries: () => given([['x', { fields: { t: { a: 'one\ntwo', b: null } } }] as const]),
        },
      },
    };
    expect(await written(formatText(report))).toBe(`ids: 2
  a
  ["b","1"]
n: 1
part:
  diffs: 1
    x
      fields
        t
          a: "one\\ntwo"
          b: null
`);
  });
});

describe('as text, what is reported', () => {
  const plain = ['Foreign "node"', '\\n', 'n_ok: 1', ' ', '', '🦊', 'مرحبا'];
  const unsafe = [
    'a\nn_ok: 1',
    'a\r',
    '\u001b[2K',
    '\u0085',
    '\u2028',
    '\u2029',
    '\u007f',
    '\u202e',
    '"a"',
    '"',
  ];

  it('stands as it is, or as JSON if it would not stay in its line or seem to be that', async () => {
    const lines = async (ids: readonly string[]) => {
      const report = { ids: { count: ids.length, items: () => given(ids) } };
      return (await written(formatText(report))).split('\n').slice(1, -1);
    };
    expect(await lines(plain)).toEqual(plain.map((id) => `  ${id}`));
    const quoted = await lines(unsafe);
    expect(quoted.map((line) => JSON.parse(line) as string)).toEqual(unsafe);
    for (const line of quoted) expect(line).toMatch(/^ {2}"[\x20-\x7e]+"$/);
  });

  it.each(unsafe)('adds no line: %j', async (text) => {
    const report: Fields = {
      keys: { count: 1, items: () => given([[text]]) },
      diffs: { count: 1, entries: () => given([[text, { [text]: { [text]: text } }] as const]) },
    };
    const lines = (await written(formatText(report))).split(/[\p{Cc}\p{Zl}\p{Zp}]/u);
    expect(lines).toHaveLength('keys: 1|["…"]|diffs: 1|id|field|side: value|'.split('|').length);
  });
});

describe('the section of the whole graph', () => {
  const compared = (whole: string, table: string, ok: number, more: object = {}): SpoolLine => ({
    whole,
    table,
    ok,
    drift: [],
    unconfirmed: 0,
    unnamed: 0,
    ...more,
  });
  const lines: readonly SpoolLine[] = [
    { after: 'z', row: 'z', ok: 5, candidates: ['a'] },
    { confirmed: 1, ok: 0, drift: [['a', 'different']], unconfirmed: [] },
    // Of a run that was ended.
    compared('first', 't', 100, { drift: [[['gone'], 'missing']] }),
    { whole: 'first', table: 't', idle: [['gone']] },
    compared('second', 't', 3, {
      drift: [
        [['k', '1'], 'missing'],
        [['k', '2'], 'not_deleted'],
      ],
      unnamed: 2,
    }),
    compared('second', 't', 4, { drift: [[['k', '3'], 'different']], unconfirmed: 1 }),
    compared('second', 'b', 1),
    { whole: 'second', table: 't', idle: [['s'], ['t']] },
  ];

  it('sums up the lines of its own run alone, and leaves those of the entities to them', async () => {
    const wholeGraph = await wholeGraphOf('second', ['t', 'b'], () => given(lines));
    expect(driftIn(wholeGraph)).toBe(5);
    const { counts } = await stateOf(given(lines));
    const report = reportOf(counts, () => given(lines), { deep: true, diffs: true, wholeGraph });
    const right = { keys_to_delete: [], keys_to_reindex: [], n_missing: 0, n_not_deleted: 0 };
    expect(await written(formatJson({ ...report }))).toBe(
      `${JSON.stringify(
        {
          diffs: {},
          entity_ids_different: ['a'],
          entity_ids_to_delete: [],
          entity_ids_to_reindex: [],
          n_different: 1,
          n_missing: 0,
          n_not_deleted: 0,
          // Equal timestamps are ok by the specification, whatever the content.
          n_ok: 6,
          n_outdated: 0,
          n_strange: 0,
          whole_graph: {
            b: { ...right, n_ok: 1, n_outdated: 0, n_unconfirmed: 0, n_unnamed: 0 },
            t: {
              keys_to_delete: [['k', '2']],
              keys_to_reindex: [
                ['k', '1'],
                ['k', '3'],
              ],
              n_missing: 1,
              n_not_deleted: 1,
              n_ok: 7,
              n_outdated: 1,
              n_unconfirmed: 1,
              n_unnamed: 2,
            },
            stubs: { n_idle_stubs: 2 },
          },
        },
        null,
        2,
      )}\n`,
    );
  });
});
