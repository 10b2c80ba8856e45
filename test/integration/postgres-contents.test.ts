/** Rows for a comparison by content, as a request to republish would have them. */
import { expect, it } from 'vitest';
import type { KeyParts } from '../../src/core/keys.ts';
import { openDatabase } from '../../src/postgres/client.ts';
import { existingKeys } from '../../src/postgres/key-pages.ts';
import { sourceContents, type SourceContents } from '../../src/postgres/contents.ts';
import { createSource, type Source } from '../support/postgres-source.ts';
import { testMapping } from '../support/test-mapping.ts';

const never = new AbortController().signal;
const uuid = (n: number) => `0a000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

async function withRelations(
  run: (source: Source, contents: SourceContents) => Promise<void>,
): Promise<void> {
  const source = await createSource(
    'contents',
    `create table relation (id uuid primary key, key text, subtype text, source_id uuid, target_id uuid,
                            last_updated_at timestamptz)`,
  );
  const database = openDatabase(source.url, { maxConnections: 1 });
  try {
    await run(source, sourceContents(database, testMapping('contents').table('public.relation')));
  } finally {
    await database.close();
    await source.dispose();
  }
}

it('have the values of the wire, and another version once they are changed', () =>
  withRelations(async ({ client }, { byKeys }) => {
    const insert = `insert into relation values ($1, 'uses', null, $1, $1, '2024-01-31 12:00:00.5+01')`;
    for (const n of [1, 2]) await client.query(insert, [uuid(n)]);
    const keys = [[uuid(1)], [uuid(2).toUpperCase()], ['no uuid'], [uuid(9)]];
    const [row, ...more] = await byKeys(keys, never);
    expect(more).toEqual([]);
    expect(row).toEqual({
      key: [uuid(1)],
      version: expect.any(String) as string,
      row: {
        id: uuid(1),
        key: 'uses',
        subtype: null,
        source_id: uuid(1),
        target_id: uuid(1),
        last_updated_at: '2024-01-31T11:00:00.500000Z',
      },
    });
    expect(await byKeys(keys, never)).toEqual([row]);
    await client.query('update relation set key = key');
    expect((await byKeys(keys, never))[0]?.version).not.toBe(row?.version);
  }));

it('are all there, however large: pages are smaller then, and keys are read piece by piece', () =>
  withRelations(async ({ client }, { page, byKeys }) => {
    // Random, so that they are as large as they are stored.
    await client.query(
      `insert into relation select ('0a000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'k',
         (select string_agg(md5(n || ':' || m), '') from generate_series(1, 60000) m), null, null, now()
       from generate_series(1, 9) n`,
    );
    const all = Array.from({ length: 9 }, (_, n) => [uuid(n + 1)]);
    for (const limit of [100, 2]) {
      const read: KeyParts[] = [];
      let pages = 0;
      for (let last = false; !last; pages++) {
        const found = await page(read.at(-1) ?? null, limit, never);
        expect(found.rows.length).toBeLessThan(9);
        read.push(...found.rows.map(({ key }) => key));
        last = found.last;
      }
      expect(read).toEqual(all);
      expect(pages).toBeGreaterThan(1);
    }
    const wanted = [...all, [uuid(99)]].reverse();
    const found = await byKeys(wanted, never);
    expect(found.map(({ key }) => key[0]).sort()).toEqual(all.flat());
  }));

it('are counted by what is stored of them, in the order asked for: so many can be held at once', () =>
  withRelations(async ({ client }, { holdable }) => {
    const MIB = 1024 * 1024;
    const large = 'insert into relation (id, key) values ($1, $2)';
    await client.query('alter table relation alter column key set storage external');
    for (const n of [1, 2, 3, 4]) await client.query(large, [uuid(n), 'x'.repeat(2 * MIB)]);
    await client.query(large, [uuid(5), 'x'.repeat(12 * MIB)]);
    await client.query('alter table relation alter column key set storage main');
    for (const n of [6, 7, 8]) await client.query(large, [uuid(n), 'x'.repeat(12 * MIB)]);
    const count = (...ids: (number | string)[]) =>
      holdable(
        ids.map((id) => [typeof id === 'number' ? uuid(id) : id]),
        never,
      );
    expect(await count(1, 2, 3, 4)).toBe(2);
    expect(await count(4, 6, 3, 2, 1)).toBe(3);
    // The first one whatever it is, and what goes beyond is the last.
    expect(await count(5, 6)).toBe(1);
    expect(await count(6, 5, 7)).toBe(2);
    // As it is stored: 12 MiB of the same letter are next to nothing.
    expect(await count(6, 7, 8)).toBe(3);
    // What no row has, or can have, costs nothing.
    expect(await count(99, 'no uuid', uuid(5).toUpperCase(), 1, 'no uuid', 2, 98, 3, 4)).toBe(7);
    expect(await count(99, 'no uuid')).toBe(2);
  }));

it('are counted by composite keys too', async () => {
  const source = await createSource(
    'contents',
    `create table entity_extract (entity_id uuid, extract_id bigint, link_type text, last_updated_at timestamptz,
                                  primary key (entity_id, extract_id, link_type))`,
  );
  try {
    await source.client.query(
      `insert into entity_extract select $1, n, repeat('x', 1000), null from generate_series(1, 5000) n`,
      [uuid(1)],
    );
    const { holdable } = sourceContents(
      source.database,
      testMapping('contents').table('public.entity_extract'),
    );
    const key = (n: number) => [uuid(1), String(n), 'x'.repeat(1000)];
    const keys = Array.from({ length: 5000 }, (_, n) => key(5000 - n));
    const count = await holdable([[uuid(1), 'no number', 'x'], ...keys], never);
    // 16 + 8 + 1004 bytes each.
    expect(count).toBe(1 + Math.ceil((4 * 1024 * 1024) / 1028));
    expect(await holdable([[uuid(1), '1', 'another'], ...keys.slice(0, 100)], never)).toBe(101);
  } finally {
    await source.dispose();
  }
});

it('are known by their keys alone, whatever is asked for', () =>
  withRelations(async ({ client, url }) => {
    await client.query('insert into relation (id) values ($1), ($2)', [uuid(1), uuid(2)]);
    const database = openDatabase(url, { maxConnections: 1 });
    const keys = [[uuid(2)], [uuid(3)], ['no uuid'], [uuid(1).toUpperCase()]];
    const table = testMapping('contents').table('public.relation');
    const found = await existingKeys(database, table, keys, never);
    await database.close();
    expect([...found].sort()).toEqual([[uuid(1)], [uuid(2)]]);
  }));
