import { describe, expect, it } from 'vitest';
import { comparatorOf } from '../../../src/core/keys.ts';
import { mergeJoin, type Pair, type Stamp, verdictOf } from '../../../src/core/drift.ts';
import { formatTook, reportOf } from '../../../src/core/check-report.ts';
import { type SpoolLine, stateOf } from '../../../src/core/check-spool.ts';
import { formatJson, formatText } from '../../../src/core/report-format.ts';
import { instantOf } from '../../../src/core/instants.ts';

describe('took', () => {
  it.each([
    [0, '0m'],
    [4.327e-6, '4.327e-06m'],
    [0.00012345, '0.0001234m'],
    [0.0000999999, '0.0001m'],
    [0.5, '0.5m'],
    [12, '12m'],
    [999.96, '1000m'],
    [9999.6, '1e+04m'],
    [1_234_999, '1.235e+06m'],
    [1e-10, '1e-10m'],
  ])('%f minutes is %s, as C writes it', (minutes, text) => {
    expect(formatTook(minutes)).toBe(text);
  });
});

describe('the report', () => {
  /** Two pages, of which the first one's candidates were confirmed in two steps. */
  const lines: readonly SpoolLine[] = [
    { after: 'b', row: 'a', ok: 2000, candidates: ['a', 'b'] },
    { confirmed: 1, ok: 0, drift: [['a', 'outdated']], unconfirmed: [] },
    { after: 'e', row: 'e', ok: 286, candidates: ['c', 'd', 'e'] },
    { confirmed: 1, ok: 0, drift: [['b', 'not_deleted']], unconfirmed: [] },
  ];
  const rest: SpoolLine = { confirmed: 3, ok: 0, drift: [['d', 'missing']], unconfirmed: ['c', 'e\n"'] };

  async function* given(all: readonly SpoolLine[]) {
    for (const line of all) yield await Promise.resolve(line);
  }
  async function written(format: typeof formatJson, all: readonly SpoolLine[]): Promise<string> {
    const { counts } = await stateOf(given(all));
    let text = '';
    for await (const piece of format({ ...reportOf(counts, () => given(all)) })) text += piece;
    return text;
  }

  it('of a graph that is right has empty lists', async () => {
    const right: SpoolLine = { after: 'z', row: 'z', ok: 26, candidates: [] };
    const counts = { n_missing: 0, n_not_deleted: 0, n_ok: 26, n_outdated: 0, n_strange: 0 };
    expect(await written(formatJson, [right])).toBe(
      `${JSON.stringify({ entity_ids_to_delete: [], entity_ids_to_reindex: [], ...counts }, null, 2)}\n`,
    );
  });

  it('names what is unconfirmed only if there is something', async () => {
    expect(JSON.parse(await written(formatJson, [...lines, rest]))).toMatchObject({
      entity_ids_unconfirmed: ['c', 'e\n"'],
      n_unconfirmed: 2,
    });
    expect(await written(formatText, [...lines, rest])).toBe(`entity_ids_to_delete: 1
  b
entity_ids_to_reindex: 2
  a
  d
entity_ids_unconfirmed: 2
  c
  "e\\n\\""
n_missing: 1
n_not_deleted: 1
n_ok: 2286
n_outdated: 1
n_strange: 0
n_unconfirmed: 2
`);
  });

  it('is written as JSON.stringify would, however many ids there are', async () => {
    const ids = Array.from({ length: 2500 }, (_, n) => `id-${String(n).padStart(4, '0')}`);
    const all: SpoolLine[] = [
      { after: 'z', row: null, ok: 0, candidates: ids },
      { confirmed: ids.length, ok: 0, drift: ids.map((id) => [id, 'missing']), unconfirmed: [] },
    ];
    const text = await written(formatJson, all);
    expect(text).toBe(`${JSON.stringify(JSON.parse(text), null, 2)}\n`);
    expect(JSON.parse(text)).toMatchObject({ entity_ids_to_reindex: ids, n_missing: 2500 });
  });

  it('keeps what is yet to be confirmed open', async () => {
    expect(await stateOf(given(lines))).toMatchObject({
      start: { after: 'e', row: 'e' },
      open: ['c', 'd', 'e'],
    });
  });
});

describe('a verdict', () => {
  const at = (micros: bigint | null): Stamp => ({ id: 'x', micros });
  it.each<[string, Stamp | null, Stamp | null, string | null]>([
    ['equal timestamps', at(1n), at(1n), 'ok'],
    ['an older graph', at(2n), at(1n), 'outdated'],
    ['a newer graph', at(1n), at(2n), 'strange'],
    ['a graph without an integer', at(1n), at(null), 'outdated'],
    ['PostgreSQL alone', at(1n), null, 'missing'],
    ['the graph alone', null, at(1n), 'not_deleted'],
    ['the graph alone, without an integer', null, at(null), 'not_deleted'],
    ['neither side', null, null, null],
  ])('on %s', (_, source, graph, verdict) => {
    expect(verdictOf(source, graph)).toBe(verdict);
  });
});

describe('the merge join', () => {
  async function* pages(...ids: readonly string[][]) {
    for (const page of ids) yield await Promise.resolve(page.map((id) => ({ id, micros: 0n })));
  }
  async function joined(
    left: readonly string[][],
    right: readonly string[][],
    kind: 'text' | 'bigint' = 'text',
  ): Promise<string[]> {
    const pairs: Pair[] = [];
    async function* ranges() {
      yield await Promise.resolve({ source: pages(...left), graph: pages(...right) });
    }
    for await (const some of mergeJoin(ranges(), 2, comparatorOf(kind))) pairs.push(...some);
    return pairs.map(({ id, source, graph }) => `${source ? '<' : ''}${id}${graph ? '>' : ''}`);
  }

  it('pairs what both sides have, across pages of any size', async () => {
    expect(await joined([['a', 'b'], [], ['d']], [['b'], ['c', 'd', 'e']])).toEqual([
      '<a',
      '<b>',
      'c>',
      '<d>',
      'e>',
    ]);
    expect(await joined([], [['a']])).toEqual(['a>']);
    expect(await joined([['a']], [[]])).toEqual(['<a']);
    expect(await joined([], [])).toEqual([]);
  });

  it('orders by UTF-8 bytes, which UTF-16 does not', async () => {
    const [tilde, fox] = ['\uff5e', '\ud83e\udd8a'];
    expect(tilde < fox).toBe(false);
    expect(await joined([[tilde, fox]], [[fox]])).toEqual([`<${tilde}`, `<${fox}>`]);
  });

  it('orders integers by their value, all 64 bits of it', async () => {
    const [most, next] = ['9223372036854775807', '9223372036854775806'];
    expect(await joined([['-10', '-9', '9'], [most]], [['-9', '10', next, most]], 'bigint')).toEqual([
      '<-10',
      '<-9>',
      '<9',
      '10>',
      `${next}>`,
      `<${most}>`,
    ]);
  });
});

describe('an instant', () => {
  it.each([
    ['2024-02-29', 'UTC', '2024-02-29T00:00:00.000Z'],
    ['2024-07-01 12:30', 'Europe/Amsterdam', '2024-07-01T10:30:00.000Z'],
    ['2024-01-01 00:00:01', 'America/New_York', '2024-01-01T05:00:01.000Z'],
    ['2024-10-27 02:30', 'Europe/Amsterdam', '2024-10-27T00:30:00.000Z'],
    ['0001-01-01', 'UTC', '0001-01-01T00:00:00.000Z'],
  ])('%s in %s is %s', (text, zone, iso) => {
    expect(new Date(instantOf(text, zone)).toISOString()).toBe(iso);
  });

  it.each([
    ['2024-02-30', 'UTC', /There is no 2024-02-30/],
    ['2024-13-01', 'UTC', /There is no/],
    ['2024-01-01 24:00', 'UTC', /There is no/],
    ['2024-01-01T00:00', 'UTC', /is no date/],
    ['01-02-2024', 'UTC', /is no date/],
    ['', 'UTC', /is no date/],
    ['2024-03-31 02:30', 'Europe/Amsterdam', /clocks skip/],
    ['2024-01-01', 'Mars/Olympus', /no time zone/],
  ])('%j in %s is refused', (text, zone, message) => {
    expect(() => instantOf(text, zone)).toThrow(message);
  });
});
