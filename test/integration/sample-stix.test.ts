import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load } from '../../src/sample/load.ts';
import { importStix } from '../../src/sample/stix.ts';
import { hashPostgres } from '../support/canonical-postgres.ts';
import { createSampleDatabase, type SampleDatabase } from '../support/sample-database.ts';

let database: SampleDatabase;
const folder = mkdtempSync(join(tmpdir(), 'stix-'));
beforeAll(async () => {
  database = await createSampleDatabase('sample_stix');
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await database.dispose();
});

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

/** Tools 0 to `size`, each using the next; `modified` says when. */
function bundle(
  from: number,
  to: number,
  modified: (n: number) => string,
  more: readonly unknown[] = [],
): string {
  const objects: unknown[] = [...more];
  for (let n = from; n < to; n++) {
    const times = { created: '2024-01-01T00:00:00Z', modified: modified(n) };
    objects.push(
      { type: 'tool', id: `tool--${uuid(n)}`, ...times, name: `Tool "${String(n)}" 🦊`, weight: 0.1 },
      {
        type: 'relationship',
        id: `relationship--${uuid(n)}`,
        ...times,
        relationship_type: 'uses',
        source_ref: `tool--${uuid(n)}`,
        target_ref: `tool--${uuid(n + 1)}`,
      },
    );
  }
  const path = join(folder, 'bundle.json');
  writeFileSync(path, JSON.stringify({ type: 'bundle', id: `bundle--${uuid(0)}`, objects }));
  return path;
}

const may = (): string => '2024-05-01T00:00:00.000001Z';

describe('importing a bundle', () => {
  it('inserts, then finds nothing to do, then updates, inserts and deletes; other rows stay', async () => {
    const { client, pool } = database;
    await load(client, { seed: 1, entities: 50 });
    const others = await hashPostgres(pool);
    const nothing = { inserted: 0, updated: 0, unchanged: 0, deleted: 0, superseded: 0, malformed: 0 };

    expect(await importStix(client, bundle(0, 700, may))).toEqual({ ...nothing, inserted: 1400 });
    const first = await hashPostgres(pool);
    expect(first.lines.length).toBe(others.lines.length + 1400);
    expect(first.lines.filter((line) => line.includes(uuid(7)) && line.startsWith('["relation"'))).toEqual([
      `["relation", "${uuid(6)}", "uses", null, 1714521600000001, "${uuid(6)}", "${uuid(7)}"]`,
      `["relation", "${uuid(7)}", "uses", null, 1714521600000001, "${uuid(7)}", "${uuid(8)}"]`,
    ]);

    const versions = await rowVersions();
    expect(await importStix(client, bundle(0, 700, may))).toEqual({ ...nothing, unchanged: 1400 });
    expect(await rowVersions()).toBe(versions);

    const june = (n: number): string => (n < 20 ? '2024-06-01T00:00:00Z' : may());
    expect(await importStix(client, bundle(10, 710, june))).toEqual({
      inserted: 20,
      updated: 20,
      unchanged: 1360,
      deleted: 20,
      superseded: 0,
      malformed: 0,
    });
    expect(await database.value(`select data->>'weight' from entity where id = $1`, [uuid(15)])).toBe('0.1');

    expect(await importStix(client, bundle(0, 0, may))).toEqual({ ...nothing, deleted: 1400 });
    expect((await hashPostgres(pool)).hash).toBe(others.hash);
  });

  it('counts what it leaves out, and says why', async () => {
    const lines: string[] = [];
    const twice = [
      { type: 'tool', id: `tool--${uuid(1)}`, modified: '2025-01-01T00:00:00Z', name: 'newest' },
      { type: 'tool', id: 'tool--1' },
    ];
    const counts = await importStix(database.client, bundle(0, 3, may, twice), {
      onMalformed: (line) => {
        lines.push(line);
      },
    });
    expect(counts).toMatchObject({ inserted: 6, superseded: 1, malformed: 1 });
    expect(lines).toEqual(['object 1: id is not type--UUID']);
    expect(await database.value(`select data->>'name' from entity where id = $1`, [uuid(1)])).toBe('newest');
  });

  it('changes all or nothing', async () => {
    const { client, pool } = database;
    await importStix(client, bundle(0, 3, may));
    const before = await hashPostgres(pool);
    await client.query(`alter table relation add constraint narrow check (key <> 'uses') not valid`);
    await expect(
      importStix(
        client,
        bundle(0, 3, () => '2025-01-01T00:00:00Z'),
      ),
    ).rejects.toMatchObject({
      code: '23514',
    });
    await client.query(`alter table relation drop constraint narrow`);
    expect((await hashPostgres(pool)).hash).toBe(before.hash);
  });
});

/** Changes with every row version that is written. */
function rowVersions(): Promise<string> {
  return database.value(
    `select md5(string_agg(xmin || ' ' || ctid, ',' order by id)) from
      (select id, xmin, ctid from entity union all select id, xmin, ctid from relation) as rows`,
  );
}
