/** `graph sync-data` where the key of entities is an integer: on both sides a number, in its order, never text. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPlatform, edit, type Platform, type Process } from '../support/platform.ts';

const LARGEST = 2n ** 63n - 1n;
const AT = Date.UTC(2024, 5, 1);

let platform: Platform;
let folder: string;
let entity: string;
let replicator: Process;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'reports-'));
  platform = await createPlatform('integers');
  entity = platform.names.labels.entity;
  await platform.sql.query(
    `alter table entity alter id type bigint using null::bigint;
     alter table entity_extract alter entity_id type bigint using null::bigint;
     alter table relation alter source_id type bigint using null::bigint,
                          alter target_id type bigint using null::bigint`,
  );
  const file = (table: string) => join(platform.connectors, 'entities', `${table}.json`);
  edit(file('entity'), (json) => {
    json['key'] = { id: 'bigint' };
    const { properties } = json['node'] as { properties: Record<string, unknown> };
    properties['id'] = { column: 'id', as: 'integer' };
  });
  edit(file('entity_extract'), (json) => {
    json['key'] = { entity_id: 'bigint', extract_id: 'bigint', link_type: 'text' };
  });
  replicator = platform.start(['replicate']);
  await replicator.logged(/streaming/);
  await platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at)
       select id, case when id < 10 then 'ttp' else 'report' end, '{"title": "as it was"}', now(), $1
         from unnest($2::bigint[]) id`,
    [new Date(AT), [-10n, -9n, 2n, 9n, 10n, 100n, LARGEST].map(String)],
  );
  await platform.sql.query(
    `insert into extract (id, kind, value, created_at, last_updated_at) values (9, 'domain', 'example.org', now(), now());
     insert into entity_extract select id, 9, 'observed', now(), now() from entity where id in (10, ${LARGEST});
     insert into relation (id, key, source_id, source_type, target_id, target_type, created_at, last_updated_at)
       select gen_random_uuid(), 'uses', id, 'ttp', 9, 'ttp', now(), now() from entity where id in (-10, ${LARGEST})`,
  );
  await platform.expectEqual();
});
afterAll(async () => {
  await platform.dispose();
  rmSync(folder, { recursive: true });
});

let files = 0;
async function syncData(...args: readonly string[]) {
  const file = join(folder, `${files++}.json`);
  const { code, stderr } = await platform.run(['sync-data', '--check-results-file', file, ...args], {
    LOG_LEVEL: 'warn',
  });
  return { code, stderr, report: JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown> };
}

const node = (id: bigint, change: string) =>
  platform.cypher(`MATCH (n:${entity} {id: $id}) ${change}`, { id });

async function injectDrift(): Promise<void> {
  await node(LARGEST, 'DETACH DELETE n');
  await node(-9n, 'SET n.last_updated_at = n.last_updated_at - 1');
  await node(10n, 'SET n.last_updated_at = n.last_updated_at + 1');
  await platform.cypher(
    `MATCH (other:${entity} {id: 9}) UNWIND [11, -11] AS id
     CREATE (n:${entity} {id: id, type: 'ttp', last_updated_at: 1}), (n)-[:${platform.names.types.related} {id: 'foreign ' + toString(id)}]->(other)`,
  );
}

const CLEAN = {
  entity_ids_to_delete: [],
  entity_ids_to_reindex: [],
  n_missing: 0,
  n_not_deleted: 0,
  n_ok: 7,
  n_outdated: 0,
  n_strange: 0,
};

it('reports them in the order of numbers, and repairs them with their relationships', async () => {
  await injectDrift();
  const drift = {
    entity_ids_to_delete: ['-11', '11'],
    entity_ids_to_reindex: ['-9', '10', String(LARGEST)],
    n_missing: 1,
    n_not_deleted: 2,
    n_ok: 4,
    n_outdated: 1,
    n_strange: 1,
  };
  const dry = await syncData('--dry-run', '--batch-size', '2');
  expect(dry, dry.stderr).toMatchObject({ code: 0, report: drift });
  const reports = await syncData('--dry-run', '--entity-types', 'report');
  expect(reports, reports.stderr).toMatchObject({
    code: 0,
    report: { entity_ids_to_delete: [], entity_ids_to_reindex: ['10', String(LARGEST)], n_ok: 1 },
  });
  const repaired = await syncData('--batch-size', '1');
  expect(repaired, repaired.stderr).toMatchObject({ code: 0, report: drift });
  expect((await syncData('--dry-run')).report).toEqual(CLEAN);
  await platform.expectEqual();
});

it('compares what they hold', async () => {
  await node(100n, `SET n.title = 'edited by hand'`);
  await node(10n, 'MATCH (n)-[r]-() DELETE r');
  const found = await syncData('--dry-run', '--deep', '--whole-graph', '--print-diffs');
  expect(found, found.stderr).toMatchObject({
    code: 0,
    report: {
      ...CLEAN,
      entity_ids_different: ['100'],
      diffs: { 100: { fields: { title: { postgresql: 'as it was', neo4j: 'edited by hand' } } } },
      whole_graph: { 'public.entity_extract': { keys_to_reindex: [['10', '9', 'observed']], n_missing: 1 } },
    },
  });
  expect((await syncData('--deep', '--whole-graph')).code).toBe(0);
  await platform.expectEqual();
});

it('repairs them without the stream, too', async () => {
  await replicator.stop();
  await injectDrift();
  expect((await syncData('--direct')).code).toBe(0);
  expect((await syncData('--direct', '--dry-run')).report).toEqual(CLEAN);
  await platform.start(['replicate']).logged(/streaming/);
  await platform.expectEqual();
});
