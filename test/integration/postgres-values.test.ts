import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RowChange } from '../../src/core/change.ts';
import { createTransactions } from '../../src/postgres/transactions.ts';
import { connect, createSource, type Source } from '../support/postgres-source.ts';

/** One value per column, as an SQL expression: what is easily lost on the way. */
const CORPUS: readonly (readonly [column: string, type: string, expression: string])[] = [
  ['jsonb_numeric', 'jsonb', `'{"n": 12345678901234567890.12, "e": 1e400, "z": 1.10}'`],
  ['json_duplicates', 'json', `'{"a":1, "a" : 2,"b":[ ]}'`],
  ['not_a_number', 'numeric', `'NaN'`],
  ['numeric_infinity', 'numeric', `'-Infinity'`],
  ['long_numeric', 'numeric', `repeat('9', 200)::numeric + 0.000000000000000000001`],
  ['smallest_double', 'double precision', `4.9406564584124654e-324`],
  ['negative_zero', 'double precision', `'-0'`],
  ['real', 'real', `0.1`],
  ['time_infinity', 'timestamptz', `'infinity'`],
  ['time_before_all', 'timestamptz', `'-infinity'`],
  ['time_bc', 'timestamptz', `'4713-01-01 00:00:00 BC'`],
  ['time_last', 'timestamptz', `'294276-12-31 23:59:59.999999+00'`],
  ['time_micros', 'timestamptz', `'2024-02-29 12:00:00.000001+05:30'`],
  ['time_local', 'timestamp', `'1999-12-31 23:59:59.9'`],
  ['date_bc', 'date', `'0044-03-15 BC'`],
  ['interval', 'interval', `'1 year 2 mons -3 days 04:05:06.789'`],
  ['int8_min', 'bigint', `'-9223372036854775808'`],
  ['int8_max', 'bigint', `9223372036854775807`],
  ['money', 'money', `-1234.5`],
  ['bytes', 'bytea', `'\\x00ff7f80'`],
  ['bits', 'bit varying', `b'0101'`],
  ['emoji', 'text', `'👩‍👩‍👧‍👦 \u{1F3F4}\u{E0067}'`],
  ['right_to_left', 'text', `'שלום \u202eعالم'`],
  ['byte_order_mark', 'text', `e'\\ufefftext'`],
  ['control', 'text', `e'\\x01\\x7f\\n\\r\\t\\\\'`],
  ['empty', 'text', `''`],
  ['nothing', 'text', `null`],
  ['a_megabyte', 'text', `(select string_agg(md5(i::text) || 'é', '') from generate_series(1, 32000) i)`],
  ['array', 'text[]', `array['a,b', null, '"', '']`],
  ['range', 'tstzrange', `'[2024-01-01 00:00:00+00,)'`],
  ['enumerated', 'mood', `'très "bien"'`],
  ['domain', 'positive', `42`],
  ['composite', 'pair', `'("a""b",)'`],
  ['padded', 'char(5)', `'a'`],
  ['object_name', 'regclass', `'pg_catalog.pg_class'`],
  ['quoted "identifier"; --', 'text', `'x'`],
  ['__proto__', 'text', `'not a prototype'`],
  ['constructor', 'integer', `-1`],
  ['ünïcödé 🦊', 'boolean', `true`],
];

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
const TABLES = `
  create type mood as enum ('très "bien"');
  create domain positive as int check (value > 0);
  create type pair as (a text, b int);
  create table corpus (id int primary key, ${CORPUS.map(([name, type]) => `${quoted(name)} ${type}`).join(', ')});
  alter table corpus replica identity full;
  alter table corpus alter column a_megabyte set storage external`;

let source: Source;
beforeAll(async () => {
  source = await createSource('values', TABLES);
});
afterAll(() => source.dispose());

describe('values in the stream', () => {
  it('have byte for byte the text that PostgreSQL shows', async () => {
    const names = CORPUS.map(([name]) => quoted(name)).join(', ');
    await source.client.query(
      `insert into corpus (id, ${names}) select 1, ${CORPUS.map(([, , expression]) => expression).join(', ')}`,
    );
    await source.client.query(`update corpus set id = 2`); // its megabyte is not sent again
    await source.client.query(`delete from corpus`);
    // A role whose settings would write everything differently.
    const odd = {
      timezone: 'Asia/Kathmandu',
      datestyle: 'German',
      intervalstyle: 'sql_standard',
      bytea_output: 'escape',
      extra_float_digits: '-15',
      search_path: 'pg_catalog',
    };
    const stream = await source.open({}, odd);
    const transactions = createTransactions({ epoch: 1, isMapped: () => true });
    const changes: RowChange[] = [];
    for await (const events of stream) {
      for (const event of events) {
        const output = transactions.push(event);
        if (output?.op === 'c' || output?.op === 'u' || output?.op === 'd') changes.push(output);
      }
      if (changes.length === 3) break;
    }
    await stream.close();

    const expected = await expectedTexts();
    const [insert, update, remove] = changes;
    expect(insert?.relation.columns.map((c) => c.name)).toEqual(['id', ...CORPUS.map(([name]) => name)]);
    expect(insert?.after).toEqual(['1', ...expected]);
    expect(update?.before).toEqual(['1', ...expected]);
    expect(update?.after).toEqual(['2', ...expected]);
    expect(remove?.before).toEqual(['2', ...expected]);
  });

  it('are the same on our ordinary connections, but for booleans and small integers', async () => {
    const [row] = await source.database.query<Record<string, unknown>>(`select ${expressions()}`);
    const texts = await expectedTexts();
    const converted: Readonly<Record<string, unknown>> = { domain: 42, constructor: -1, 'ünïcödé 🦊': true };
    const expected = CORPUS.map(([name], i) => (Object.hasOwn(converted, name) ? converted[name] : texts[i]));
    expect(CORPUS.map((_, i) => row?.[String(i)])).toEqual(expected);
  });
});

/** By an ordinary session with the documented settings, and nothing of ours in between. */
async function expectedTexts(): Promise<readonly (string | null)[]> {
  const session = await connect(source.url);
  await session.query(
    `set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set bytea_output = 'hex';
     set extra_float_digits = 1; set search_path = ''`,
  );
  const { rows } = await session.query<(string | null)[]>({
    text: `select ${expressions()}`,
    rowMode: 'array',
    types: { getTypeParser: () => (text: string) => text },
  });
  await session.end();
  return rows[0] ?? [];
}

function expressions(): string {
  const ours = ['mood', 'positive', 'pair'];
  return CORPUS.map(
    ([, type, expression], i) => `(${expression})::${ours.includes(type) ? 'public.' : ''}${type} as "${i}"`,
  ).join(', ');
}
