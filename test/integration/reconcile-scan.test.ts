/** The scan of sync-data on both servers, against a model in memory: random entities, filters and page sizes. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadMapping } from '../../src/config/connectors.ts';
import { type Verdict, verdictOf } from '../../src/core/drift.ts';
import { type EntityFilter, entityTable } from '../../src/core/entity-table.ts';
import { connectNeo4j, type Graph } from '../../src/neo4j/client.ts';
import { graphEntities } from '../../src/neo4j/entities.ts';
import { scan } from '../../src/pipelines/reconcile/scan.ts';
import { type Database, openDatabase } from '../../src/postgres/client.ts';
import { sourceEntities } from '../../src/postgres/entities.ts';
import { createPlatform, type Platform } from '../support/platform.ts';
import { servers } from '../support/servers.ts';

const TYPES = ['indicator', 'ttp', 'report'] as const;
const quiet = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

let platform: Platform;
let sql: Database;
let graph: Graph;
beforeAll(async () => {
  platform = await createPlatform('scan');
  sql = openDatabase(platform.env['DATABASE_URL'] ?? '');
  const {
    neo4jUri: uri,
    neo4jUsername: username,
    neo4jPassword: password,
    neo4jDatabase: database,
  } = servers();
  graph = connectNeo4j({ uri, username, password, database }, quiet);
  await platform.cypher(`CREATE CONSTRAINT FOR (n:${platform.names.labels.entity}) REQUIRE n.id IS UNIQUE`);
});
afterAll(async () => {
  await sql.close();
  await graph.close();
  await platform.dispose();
});

interface Side {
  readonly type: string;
  readonly seconds: number;
}
interface Entity {
  readonly source: Side | null;
  readonly graph: Side | null;
}

const side = fc.record({ type: fc.constantFrom(...TYPES), seconds: fc.integer({ min: -3, max: 6 }) });
const entities = fc.array(
  fc.record({
    source: fc.option(side, { freq: 4 }),
    graph: fc.option(side, { freq: 4 }),
    same: fc.boolean(),
  }),
  { maxLength: 40 },
);
const filters = fc.record({
  changedAfterMicros: fc.option(
    fc.integer({ min: -3, max: 6 }).map((s) => BigInt(s) * 1_000_000n),
    { freq: 1 },
  ),
  types: fc.option(fc.subarray([...TYPES], { minLength: 1 }), { freq: 1 }),
});

it('finds what a look at everything finds, whatever the filter and the size of pages', async () => {
  await fc.assert(
    fc.asyncProperty(entities, filters, fc.integer({ min: 1, max: 9 }), async (drawn, filter, batchSize) => {
      const all: Entity[] = drawn.map(({ source, graph: g, same }) => ({ source, graph: same ? source : g }));
      await write(all);
      const table = entityTable(loadMapping(platform.connectors));
      const sources = {
        source: sourceEntities(sql, table, filter),
        graph: graphEntities(graph, table, filter),
        filtered: filter.types !== null || filter.changedAfterMicros !== null,
        batchSize,
      };
      const found: [string, Verdict | null][] = [];
      for await (const pairs of scan(sources, new AbortController().signal))
        for (const pair of pairs) found.push([pair.id, verdictOf(pair.source, pair.graph)]);
      expect(found).toEqual(expected(all, filter));
    }),
    { numRuns: 40 },
  );
}, 120_000);

const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

function expected(all: readonly Entity[], { changedAfterMicros, types }: EntityFilter): [string, string][] {
  const chosen = (one: Side | null) =>
    one !== null &&
    (types === null || types.includes(one.type)) &&
    (changedAfterMicros === null || BigInt(one.seconds) * 1_000_000n > changedAfterMicros);
  return all.flatMap(({ source, graph: inGraph }, n): [string, string][] => {
    if (!chosen(source) && !chosen(inGraph)) return [];
    if (source === null) return [[idOf(n), 'not_deleted']];
    if (inGraph === null) return [[idOf(n), 'missing']];
    const ahead = inGraph.seconds - source.seconds;
    return [[idOf(n), ahead === 0 ? 'ok' : ahead < 0 ? 'outdated' : 'strange']];
  });
}

async function write(all: readonly Entity[]): Promise<void> {
  const label = platform.names.labels.entity;
  await platform.sql.query('truncate entity');
  await platform.cypher(`MATCH (n:${label}) DELETE n`);
  const rows = all.flatMap(({ source }, n) => (source === null ? [] : [{ id: idOf(n), ...source }]));
  await platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at)
     select id, type, '{}', now(), 'epoch'::timestamptz + seconds * interval '1 second'
     from jsonb_to_recordset($1) as r(id uuid, type text, seconds int)`,
    [JSON.stringify(rows)],
  );
  const nodes = all.flatMap(({ graph: g }, n) =>
    g === null ? [] : [{ id: idOf(n), type: g.type, last_updated_at: BigInt(g.seconds) * 1_000_000n }],
  );
  await platform.cypher(`UNWIND $nodes AS node CREATE (n:${label}) SET n = node`, { nodes });
  await platform.cypher(`CREATE (:${label}:Stub {id: 'a stub'})`);
}
