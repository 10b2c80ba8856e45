import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { load, type LoadProgress } from '../../src/sample/load.ts';
import { createTables, dropTables, REPLICATED_TABLES } from '../../src/sample/tables.ts';
import { createSampleDatabase, type SampleDatabase } from '../support/sample-database.ts';
import { hashPostgres } from '../support/canonical-postgres.ts';

let database: SampleDatabase;
beforeAll(async () => {
  database = await createSampleDatabase('sample_load');
});
afterAll(() => database.dispose());

describe('the tables', () => {
  it('are as the platform has them, created as often as one likes', async () => {
    const { client } = database;
    await client.query(`insert into public.blob (content) values ('\\x00ff')`);
    await createTables(client);
    expect(await database.value(`select count(*)::int from public.blob`)).toBe(1);

    const { rows } = await client.query<Record<string, string>>(
      `select table_name || '.' || column_name as column, data_type || case is_nullable when 'NO' then ' not null' else '' end
         || coalesce(' default ' || column_default, '') as type
       from information_schema.columns where table_schema = 'public' order by table_name, ordinal_position`,
    );
    const times = {
      created_at: 'timestamp with time zone not null',
      last_updated_at: 'timestamp with time zone not null',
    };
    const json = `jsonb not null default '{}'::jsonb`;
    const expected = {
      blob: { id: `bigint not null default nextval('blob_id_seq'::regclass)`, content: 'bytea' },
      entity: { id: 'uuid not null', type: 'text not null', data: 'jsonb not null', meta: json, ...times },
      entity_extract: {
        entity_id: 'uuid not null',
        extract_id: 'bigint not null',
        link_type: 'text not null',
        ...times,
      },
      extract: { id: 'bigint not null', kind: 'text not null', value: 'text not null', meta: json, ...times },
      relation: {
        id: 'uuid not null',
        key: 'text not null',
        subtype: 'text',
        source_id: 'uuid not null',
        source_type: 'text not null',
        target_id: 'uuid not null',
        target_type: 'text not null',
        data: json,
        ...times,
      },
    };
    const flat = Object.entries(expected).flatMap(([table, columns]) =>
      Object.entries(columns).map(([column, type]) => ({ column: `${table}.${column}`, type })),
    );
    expect(rows).toEqual(flat);

    const constraints = await client.query<{ definition: string }>(
      `select relname || ': ' || pg_get_constraintdef(c.oid) as definition
       from pg_constraint as c join pg_class as t on t.oid = conrelid
       where contype in ('p', 'u', 'f') and connamespace = 'public'::regnamespace order by 1`,
    );
    expect(constraints.rows.map(({ definition }) => definition)).toEqual([
      'blob: PRIMARY KEY (id)',
      'entity: PRIMARY KEY (id)',
      'entity_extract: PRIMARY KEY (entity_id, extract_id, link_type)',
      'extract: PRIMARY KEY (id)',
      'extract: UNIQUE (kind, value)',
      'relation: PRIMARY KEY (id)',
    ]);
    const full = await client.query<{ name: string }>(
      `select relname as name from pg_class where relreplident = 'f' and relnamespace = 'public'::regnamespace`,
    );
    expect(full.rows.map(({ name }) => name).sort()).toEqual([...REPLICATED_TABLES].sort());
  });

  it('may be in any schema, and go again', async () => {
    const { client } = database;
    const schema = 'odd "schema"';
    const count = () =>
      database.value<number>(`select count(*)::int from pg_tables where schemaname = $1`, [schema]);
    await createTables(client, schema);
    expect(await count()).toBe(5);
    await load(client, { seed: 1, entities: 10, schema });
    expect((await hashPostgres(database.pool, schema)).lines.length).toBeGreaterThan(10);
    await dropTables(client, schema);
    await dropTables(client, schema);
    expect(await count()).toBe(0);
  });
});

describe('the loader', () => {
  const entities = 3_000;
  let progress: LoadProgress[];
  let done: LoadProgress;
  beforeAll(async () => {
    progress = [];
    done = await load(database.client, { seed: 5, entities, rowsPerTransaction: 4_000 }, (at) => {
      progress.push(at);
    });
  });

  it('writes all that the generator gives, and says how far it is', async () => {
    const counts: number[] = [];
    for (const table of REPLICATED_TABLES) {
      counts.push(await database.value<number>(`select count(*)::int from ${table}`));
    }
    expect(counts[0]).toBe(entities);
    expect(counts.reduce((sum, count) => sum + count)).toBe(done.inserted - done.deleted);
    expect(done.touched).toBe(entities / 20);
    expect(done.deleted).toBeGreaterThan(entities / 100);
    expect(progress.length).toBeGreaterThan(3);
    expect(progress.at(-1)).toEqual(done);
    expect(progress.map((at) => at.done)).toEqual(progress.map((at) => at.done).sort((a, b) => a - b));
    expect(done.done).toBe(1);
  });

  it('writes the same content again for the same seed, whatever the size of transactions', async () => {
    const { client, pool } = database;
    await createTables(client, 'again');
    await load(client, { seed: 5, entities, rowsPerTransaction: 1, schema: 'again' });
    const first = await hashPostgres(pool, 'public');
    expect((await hashPostgres(pool, 'again')).hash).toBe(first.hash);
    expect(first.lines.length).toBe(done.inserted - done.deleted);
  });

  it('has 20 kB descriptions that PostgreSQL keeps out of line', async () => {
    const out = await database.value<number>(
      `select count(*)::int from entity where pg_column_toast_chunk_id(data) is not null`,
    );
    const long = await database.value<number>(
      `select count(*)::int from entity where length(data->>'description') >= 20000`,
    );
    expect(long).toBeGreaterThan(entities * 0.005);
    expect(out).toBe(long);
  });

  it('keeps every digit of a number', async () => {
    expect(
      await database.value<number>(
        `select count(*)::int from entity where data->>'title' = '12345678901234567890.12'`,
      ),
    ).toBeGreaterThan(0);
    expect(await database.value(`select max(id)::text from extract`)).toMatch(/^90071992547/);
  });

  it('leaves whole transactions behind when it is told to stop', async () => {
    const { client } = database;
    await createTables(client, 'stopped');
    const stop = new AbortController();
    const reason = new Error('enough');
    const loading = load(
      client,
      { seed: 5, entities, rowsPerTransaction: 2_000, schema: 'stopped', signal: stop.signal },
      ({ inserted }) => {
        if (inserted > 6_000) stop.abort(reason);
        last = inserted;
      },
    );
    let last = 0;
    await expect(loading).rejects.toBe(reason);
    const { rows } = await client.query<{ n: number }>(
      `select ((select count(*) from stopped.entity) + (select count(*) from stopped.relation)
        + (select count(*) from stopped.extract) + (select count(*) from stopped.entity_extract))::int as n`,
    );
    expect(rows[0]?.n).toBeGreaterThan(last * 0.9);
    expect(rows[0]?.n).toBeLessThanOrEqual(last);
    expect(last).toBeLessThan(done.inserted);
  });

  it('rolls back what fails', async () => {
    const { client } = database;
    await expect(load(client, { seed: 5, entities: 10 })).rejects.toMatchObject({ code: '23505' });
    expect(await database.value(`select now() = statement_timestamp()`)).toBe(true);
  });
});
