import { describe, expect, it } from 'vitest';
import type { Tuple } from '../../src/core/change.ts';
import type { TableMapping } from '../../src/core/mapping.ts';
import { NO_CONTROL } from '../../src/kafka/control.ts';
import { openDatabase } from '../../src/postgres/client.ts';
import { createRowReader, type Witness } from '../../src/postgres/rows.ts';
import { createVisibility } from '../../src/pipelines/publish/visibility.ts';
import { inspectSource } from '../../src/postgres/source.ts';
import { LSN_ZERO } from '../../src/core/lsn.ts';
import { eventually } from '../support/platform.ts';
import { connect, createSource, readMessages, type Source } from '../support/postgres-source.ts';

const never = new AbortController().signal;

/** Of every type whose text depends on settings, or that a cast would write in another way. */
const VALUES: Readonly<Record<string, readonly [type: string, ...values: string[]]>> = {
  flag: ['bool', 'true', 'false'],
  small: ['int2', '-32768'],
  big: ['int8', '9223372036854775807'],
  amount: ['numeric', `'NaN'`, '12345678901234567890.120'],
  real: ['float8', '0.1::float8 + 0.2::float8'],
  at: ['timestamptz', `'infinity'`, `'0044-03-15 12:00:00 BC'`, `'2024-01-31 12:00:00.000001+05'`],
  span: ['interval', `'1 year -2 days 03:04:05.6'`],
  bytes: ['bytea', `'\\x00ff'`],
  exact: ['json', `'{"a": 1.0, "a": 2}'`],
  tree: ['jsonb', `'{"n": 12345678901234567890.12}'`],
  padded: ['char(5)', `'ab'`],
  texts: ['text[]', `array['a,b', null, '"']`],
  pair: ['pair', `row(null, 'x')`, `row(null, null)`],
  kept: ['positive', '7'],
  said: ['text', `''`, `'😀 \u202e'`],
};

const TABLES = `
  create type public.pair as (a int, b text);
  create domain positive as int check (value > 0);
  create table item (id uuid, number bigint, name text, ${Object.entries(VALUES)
    .map(([name, [type]]) => `"${name}" ${type}`)
    .join(', ')}, unmapped text, primary key (id, number, name));
  alter table item replica identity full`;

function mapping(columns: readonly string[] = Object.keys(VALUES)): TableMapping {
  return {
    table: 'public.item',
    schema: 'public',
    name: 'item',
    topic: 'item',
    key: [
      { name: 'id', kind: 'uuid' },
      { name: 'number', kind: 'bigint' },
      { name: 'name', kind: 'text' },
    ],
    columns: new Map(['id', 'number', 'name', ...columns].map((name) => [name, 'any' as const])),
    target: { kind: 'node', label: 'Item', keyProperty: '_key', labels: null, properties: [] },
  };
}

const uuid = (n: number) => `0a000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

async function withSource(
  run: (source: Source, reader: ReturnType<typeof createRowReader>) => Promise<void>,
) {
  const source = await createSource('rows', TABLES);
  const database = openDatabase(source.url, { maxConnections: 1, lockTimeoutMs: 50 });
  try {
    await run(source, createRowReader(database));
  } finally {
    await database.close();
    await source.dispose();
  }
}

describe('rows read now', () => {
  it('have the text and the types that the stream carries', () =>
    withSource(async (source, reader) => {
      await source.client.query(
        `set timezone = 'Asia/Kolkata'; set datestyle = 'German'; set intervalstyle = 'iso_8601'`,
      );
      const names = Object.keys(VALUES);
      let n = 0;
      for (const name of names) {
        const [, ...values] = VALUES[name] ?? [''];
        for (const value of values)
          await source.client.query(
            `insert into item (id, number, name, "${name}") values ('${uuid(n++)}', ${n}, 'k', ${value})`,
          );
      }
      const stream = await source.open();
      const messages = await readMessages(
        stream,
        (all) => all.filter((m) => m.kind === 'insert').length === n,
      );
      await stream.close();
      const inserts = messages.flatMap((m) => (m.kind === 'insert' ? [m] : []));
      const streamed = inserts.map((m) => m.after.slice(0, 3 + names.length));
      const read = await reader.range(mapping(), { after: null, upTo: null }, 1000, never);
      expect(read?.rows).toEqual(streamed satisfies Tuple[]);
      const columns = inserts[0]?.relation.columns.slice(0, 3 + names.length).map((c) => [c.name, c.typeOid]);
      expect(read?.relation?.columns.map((c) => [c.name, c.typeOid])).toEqual(columns);
    }));

  it('are those of the keys that were asked for', () =>
    withSource(async (source, reader) => {
      await source.client.query(
        `insert into item (id, number, name) values ($1, 1, 'a'), ($1, 1, 'b'), ($1, 2, 'a')`,
        [uuid(1)],
      );
      const keys = [
        [uuid(1), '1', 'b'],
        [uuid(1), '2', 'b'],
        [uuid(1), '9223372036854775807', 'a'],
        [uuid(1), '2', 'a'],
      ];
      const read = await reader.keys(mapping([]), keys, never);
      expect(read?.keys.toSorted()).toEqual([keys[0], keys[3]]);
      expect(await reader.keys(mapping([]), [], never)).toMatchObject({ rows: [], relation: null });
    }));

  it('of a range come in the order of their keys, text by its bytes, from behind its first to its last', () =>
    withSource(async (source, reader) => {
      const order: [number, number, string][] = [
        [1, -5, 'z'],
        [1, 3, 'B'],
        [1, 3, 'a'],
        [1, 3, '\uff5e'],
        [1, 3, '😀'],
        [1, 10, 'A'],
        [2, 0, ''],
      ];
      const keys = order.map(([id, number, name]) => [uuid(id), String(number), name]);
      for (const key of keys.toReversed())
        await source.client.query(`insert into item (id, number, name) values ($1, $2, $3)`, key);
      const range = async (after: number | null, upTo: number | null, limit = 100) => {
        const at = (i: number | null) => (i === null ? null : (keys[i] ?? null));
        const read = await reader.range(mapping([]), { after: at(after), upTo: at(upTo) }, limit, never);
        expect(read?.more).toBe(
          read?.keys.length === limit && (upTo ?? keys.length - 1) > (after ?? -1) + limit,
        );
        return read?.keys;
      };
      expect(await range(null, null)).toEqual(keys);
      for (let i = 0; i < keys.length; i++) {
        expect(await range(i, null)).toEqual(keys.slice(i + 1));
        expect(await range(null, i)).toEqual(keys.slice(0, i + 1));
        expect(await range(0, i)).toEqual(keys.slice(1, i + 1));
      }
      expect(await range(1, null, 2)).toEqual(keys.slice(2, 4));
      expect(await range(1, 3, 2)).toEqual(keys.slice(2, 4));
      expect(await range(4, null, 2)).toEqual(keys.slice(5));
    }));

  it('come with the snapshot that they were read in', () =>
    withSource(async (source, reader) => {
      const { rows } = await source.client
        .query<{ xid: string }>(
          `begin; insert into item (id, number, name) values ('${uuid(1)}', 1, 'a'); select pg_current_xact_id() as xid`,
        )
        .then((results) => (results as unknown as { rows: { xid: string }[] }[])[2] ?? { rows: [] });
      const xid = BigInt(rows[0]?.xid ?? 0);
      const before = await reader.keys(mapping([]), [[uuid(1), '1', 'a']], never);
      expect(before?.rows).toEqual([]);
      expect(
        before?.witness.snapshot.running.includes(xid) || (before?.witness.snapshot.xmax ?? 0n) <= xid,
      ).toBe(true);
      await source.client.query('commit');
      const after = await reader.keys(mapping([]), [[uuid(1), '1', 'a']], never);
      expect(after?.rows).toHaveLength(1);
      expect(after?.witness.snapshot.running).not.toContain(xid);
      expect(after?.witness.snapshot.xmax).toBeGreaterThan(xid);
    }));

  it('are all there though their table is rewritten after the reading began, whatever isolation is the default', () =>
    withSource(async ({ client, name, url }) => {
      await client.query(`alter database ${name} set default_transaction_isolation = 'repeatable read'`);
      await client.query(`insert into item (id, number, name) values ('${uuid(1)}', 1, 'a')`);
      const database = openDatabase(url, { maxConnections: 1, lockTimeoutMs: 10_000 });
      const patient = createRowReader(database);
      try {
        await client.query('begin; alter table item add column rewritten float8 default random()');
        const reading = [
          patient.keys(mapping([]), [[uuid(1), '1', 'a']], never),
          patient.range(mapping([]), { after: null, upTo: null }, 1, never),
        ];
        await eventually('the reading waits for its lock', async () => {
          const { rowCount } = await client.query(
            `select from pg_locks where not granted and relation = 'item'::regclass`,
          );
          return rowCount === 1;
        });
        await client.query('commit');
        for (const read of await Promise.all(reading)) expect(read?.rows).toHaveLength(1);
      } finally {
        await database.close();
      }
    }));

  it('are not waited for while their table is locked, and are refused when it no longer fits', () =>
    withSource(async (source, reader) => {
      const other = await connect(source.url);
      await other.query('begin; lock table item in access exclusive mode');
      expect(await reader.range(mapping(), { after: null, upTo: null }, 1, never)).toBeNull();
      await other.query('commit');
      await other.end();
      await source.client.query('alter table item drop column flag');
      await expect(reader.range(mapping(), { after: null, upTo: null }, 1, never)).rejects.toMatchObject({
        code: 'POSTGRES_SCHEMA',
      });
      await source.client.query('alter table item alter column id type text');
      await expect(reader.keys(mapping([]), [[uuid(1), '1', 'a']], never)).rejects.toMatchObject({
        code: 'POSTGRES_SCHEMA',
      });
    }));

  it('of another server, timeline or standby than the stream say nothing', () =>
    withSource(async (source, reader) => {
      const info = await inspectSource(source.database);
      const own = { ...info, currentLsn: LSN_ZERO, recordedTimelineEnd: null, slot: null, published: {} };
      const visibility = await createVisibility(source.database, { state: NO_CONTROL, observed: own }, never);
      const read = await reader.range(mapping([]), { after: null, upTo: null }, 1, never);
      if (read === null) throw new Error('the table is locked');
      const sees = (witness: Witness) => visibility.expect().metBy(witness);
      expect(sees(read.witness)).toBe(true);
      for (const other of [{ systemIdentifier: '1' }, { timeline: 9 }, { inRecovery: true }]) {
        expect(() => sees({ ...read.witness, ...other })).toThrow(
          expect.objectContaining({ code: 'STREAM_LOST' }) as Error,
        );
      }
    }));
});
