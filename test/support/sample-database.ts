/** A database of a test's own with the sample tables. A connection that the test leaks fails its disposal. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createTables } from '../../src/sample/tables.ts';
import { servers } from './servers.ts';

export interface SampleDatabase {
  readonly name: string;
  readonly url: string;
  readonly client: pg.Client;
  readonly pool: pg.Pool;
  /** First column of the first row. */
  readonly value: <T = string>(query: string, values?: readonly unknown[]) => Promise<T>;
  readonly dispose: () => Promise<void>;
}

export async function createSampleDatabase(prefix: string): Promise<SampleDatabase> {
  const name = `${prefix}_${randomBytes(4).toString('hex')}`;
  const { databaseUrl } = servers();
  const admin = new pg.Client({ connectionString: databaseUrl });
  await admin.connect();
  await admin.query(`create database ${name}`);
  const url = new URL(databaseUrl);
  url.pathname = `/${name}`;
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  const pool = new pg.Pool({ connectionString: url.href, max: 5 });
  await createTables(client);
  return {
    name,
    url: url.href,
    client,
    pool,
    async value<T>(query: string, values: readonly unknown[] = []) {
      const { rows } = await client.query<[T]>({ text: query, values: [...values], rowMode: 'array' });
      const first = rows[0]?.[0];
      if (first === undefined) throw new Error(`no row: ${query}`);
      return first;
    },
    async dispose() {
      await client.end();
      await pool.end();
      await admin.query(`drop database ${name}`);
      await admin.end();
    },
  };
}
