/** Pages by key are index scans: a page costs as much at the end of a large table as at its beginning. */
import type { QueryResultRow } from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadMapping } from '../../src/config/connectors.ts';
import { entityTable } from '../../src/core/entity-table.ts';
import { tableByName } from '../../src/core/mapping.ts';
import { type Sql } from '../../src/postgres/client.ts';
import { sourceEntities } from '../../src/postgres/entities.ts';
import { sourceContents } from '../../src/postgres/contents.ts';
import { filteredKeys, keyPage } from '../../src/postgres/key-pages.ts';
import { createRowReader } from '../../src/postgres/rows.ts';
import { createSampleDatabase, type SampleDatabase } from '../support/sample-database.ts';

const never = new AbortController().signal;
const mapping = loadMapping('connectors');
const uuid = '00000000-0000-4000-8000-000000000001';

let database: SampleDatabase;
beforeAll(async () => {
  database = await createSampleDatabase('plans');
  // The tables are empty: no index would be worth it, so let PostgreSQL take one wherever one can be taken.
  await database.client.query('set enable_seqscan = off; set enable_bitmapscan = off');
});
afterAll(() => database.dispose());

/** What PostgreSQL makes of the statement that is sent. */
async function planOf(ask: (sql: Sql) => Promise<unknown>): Promise<string> {
  let plan = '';
  const sql: Sql = {
    async query<Row extends QueryResultRow>(text: string, values: readonly unknown[] = []) {
      const { rows } = await database.client.query<{ 'QUERY PLAN': string }>(`explain ${text}`, [...values]);
      plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      return [] as Row[];
    },
  };
  await ask(sql).catch(() => undefined);
  return plan;
}

function table(name: string) {
  const found = tableByName(mapping, `public.${name}`);
  if (found === undefined) throw new Error(`${name} is not mapped`);
  return found;
}

const entities = entityTable(mapping);
const unfiltered = { changedAfterMicros: null, types: null };

it.each<[string, (sql: Sql) => Promise<unknown>]>([
  [
    'entities of sync-data',
    (sql) => sourceEntities(sql, entities, unfiltered).page({ after: uuid, upTo: null }, 1000, never),
  ],
  ['keys of the initial load', (sql) => keyPage(sql, table('entity'), [uuid], 1000, never)],
  ['composite keys', (sql) => keyPage(sql, table('entity_extract'), [uuid, '7', 'x'], 1000, never)],
  [
    'keys of a filtered backfill',
    (sql) => filteredKeys(sql, table('extract'), { types: null, changedAfter: null }, ['7'], 1000, never),
  ],
  [
    'rows of a requested range',
    (sql) => createRowReader(sql).range(table('entity'), { after: [uuid], upTo: null }, 1000, never),
  ],
  [
    'how many rows can be held at once',
    (sql) => sourceContents(sql, table('entity')).holdable([[uuid]], never),
  ],
])('%s', async (_, ask) => {
  const plan = await planOf(ask);
  expect(plan).toMatch(/Index (Only )?Scan using \w+_pkey/);
  expect(plan).toMatch(/Index Cond: /);
  expect(plan).not.toMatch(/Seq Scan/);
});

it.each<[string, (sql: Sql) => Promise<unknown>]>([
  [
    'entities of sync-data',
    (sql) => sourceEntities(sql, entities, unfiltered).page({ after: uuid, upTo: null }, 1000, never),
  ],
  [
    'rows of a requested range',
    (sql) => createRowReader(sql).range(table('entity'), { after: [uuid], upTo: null }, 1000, never),
  ],
])('%s come in the order of their index', async (_, ask) => {
  expect(await planOf(ask)).not.toMatch(/Sort/);
});
