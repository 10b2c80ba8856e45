/** What is compared with all that it holds, on both servers, where rows are large. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { SpoolLine } from '../../src/core/check-spool.ts';
import { entityTable } from '../../src/core/entity-table.ts';
import { entityContents } from '../../src/pipelines/reconcile/deep.ts';
import { checkWholeGraph } from '../../src/pipelines/reconcile/whole-graph.ts';
import { createSource, type Source } from '../support/postgres-source.ts';
import { createTestGraph, type TestGraph } from '../support/test-graph.ts';

let source: Source;
let own: TestGraph;
beforeAll(async () => {
  own = await createTestGraph('whole');
  source = await createSource(
    'whole',
    `create table extract (id bigint primary key, kind text, value text, meta jsonb, created_at timestamptz,
                           last_updated_at timestamptz);
     create table entity (id uuid primary key, type text, data jsonb, meta jsonb, created_at timestamptz,
                          last_updated_at timestamptz)`,
  );
});
afterAll(async () => {
  await source.dispose();
  await own.dispose();
});

it('tables: as many as can be held at once are confirmed in order, until there are none', async () => {
  await source.client.query('alter table extract alter column value set storage external');
  await source.client.query(
    `insert into extract select n, 'uri', repeat('x', 3 * 1024 * 1024), '{}', now(), now() from generate_series(1, 7) n`,
  );
  await own.cypher('UNWIND [100, 101] AS id CREATE (:Extract {id: id})');
  const lines: SpoolLine[] = [];
  let waits = 0;
  await checkWholeGraph(
    {
      mapping: { ...own.mapping, tables: [] },
      tables: [own.table('public.extract')],
      sql: source.database,
      graph: own.graph,
      snapshot: () => Promise.resolve({ xmin: 2n, xmax: 2n, next: 2n, running: [], synchronous: false }),
      caughtUp() {
        waits++;
        return Promise.resolve();
      },
      maxWaitMs: 10_000,
      readTwice: false,
      run: 'this one',
      batchSize: 1000,
      throttle: null,
    },
    {
      append(line) {
        lines.push(line);
        return Promise.resolve();
      },
    } as Parameters<typeof checkWholeGraph>[1],
    new AbortController().signal,
  );
  const missing = (...ids: string[]) => ids.map((id) => [[id], 'missing']);
  const notDeleted = (...ids: string[]) => ids.map((id) => [[id], 'not_deleted']);
  expect(lines.map((line) => ('drift' in line ? line.drift : null))).toEqual([
    missing('1', '2'),
    missing('3', '4'),
    missing('5', '6'),
    [...missing('7'), ...notDeleted('100', '101')],
  ]);
  expect(waits).toBe(4);
});

it('entities: PostgreSQL says how many can be held at once', async () => {
  const ids = [1, 2, 3, 4].map((n) => `0a000000-0000-4000-8000-00000000000${n}`);
  await source.client.query('alter table entity alter column data set storage external');
  await source.client.query(
    `insert into entity select id, 'ttp', jsonb_build_object('title', repeat('x', 3 * 1024 * 1024)), '{}', now(), now()
       from unnest($1::uuid[]) id`,
    [ids],
  );
  const entities = entityTable(own.mapping);
  const contents = entityContents(source.database, own.graph, entities, { deep: true, diffs: false });
  expect(await contents.source.holdable?.(['no uuid', ...ids], new AbortController().signal)).toBe(3);
});
