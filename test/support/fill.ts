/** Rows of the platform's tables, the same for the same seed. */
import type { Pool } from 'pg';
import { load, type LoadOptions } from '../../src/sample/load.ts';

export async function fill(sql: Pick<Pool, 'connect'>, options: LoadOptions): Promise<void> {
  const client = await sql.connect();
  await load(client, options).finally(() => {
    client.release();
  });
}
