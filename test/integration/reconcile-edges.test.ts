/** Which relationships a repair of entities asks for: those of either side, in pages of two, each of them once. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadMapping } from '../../src/config/connectors.ts';
import { entityTable } from '../../src/core/entity-table.ts';
import { keyText } from '../../src/core/keys.ts';
import { connectNeo4j, type Graph } from '../../src/neo4j/client.ts';
import { edgesOf } from '../../src/pipelines/reconcile/edges.ts';
import { type Database, openDatabase } from '../../src/postgres/client.ts';
import { createPlatform, type Platform } from '../support/platform.ts';
import { neo4jOptions, quiet } from '../support/test-graph.ts';

const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const [A, B, OTHER] = [idOf(1), idOf(2), idOf(3)] as const;
/** Those of A and B; the last one is of both. */
const RELATIONS = [
  [101, A, OTHER],
  [102, A, OTHER],
  [103, OTHER, A],
  [104, OTHER, B],
  [105, A, B],
] as const;
/** As numbers 9 is before 10. */
const LINKS = [
  [A, '9', 'novel'],
  [A, '10', 'observed'],
  [B, '10', 'sighted'],
] as const;
/** No row can have them; a delete can name them. In UTF-16 the second is before the first. */
const FOREIGN = ['\uff5e', '\u{1f600}', 'Foreign'];
const GONE = JSON.stringify([B, '7', 'observed']);

let platform: Platform;
let sql: Database;
let graph: Graph;
beforeAll(async () => {
  platform = await createPlatform('edges');
  sql = openDatabase(platform.env['DATABASE_URL'] ?? '');
  graph = connectNeo4j(neo4jOptions(), quiet);
  for (const [n, source, target] of [...RELATIONS, [106, OTHER, OTHER] as const])
    await platform.sql.query(
      `insert into relation (id, key, source_id, source_type, target_id, target_type, created_at, last_updated_at)
       values ($1, 'uses', $2, 'ttp', $3, 'ttp', now(), now())`,
      [idOf(n), source, target],
    );
  for (const link of [...LINKS, [OTHER, '10', 'observed'] as const])
    await platform.sql.query(`insert into entity_extract values ($1, $2, $3, now(), now())`, [...link]);

  const { labels, types } = platform.names;
  await platform.cypher(
    `CREATE (a:${labels.entity} {id: $a}), (b:${labels.entity} {id: $b}), (o:${labels.entity} {id: $other}), (x:${labels.extract} {id: 10})
     FOREACH (id IN $related | CREATE (a)-[:${types.related} {id: id}]->(o))
     CREATE (a)-[:${types.related} {id: 17}]->(b), (o)-[:${types.related} {id: 'of others'}]->(o),
            (a)-[:${types.observed} {_key: $known}]->(x), (b)-[:${types.sighted} {_key: $gone}]->(x),
            (b)-[:${types.linked} {_key: 'no list'}]->(x), (b)-[:OTHER_TYPE {_key: 'of nobody', id: 'of nobody'}]->(a)`,
    {
      a: A,
      b: B,
      other: OTHER,
      related: [...FOREIGN, idOf(101), idOf(104)],
      known: JSON.stringify(LINKS[1]),
      gone: GONE,
    },
  );
});
afterAll(async () => {
  await sql.close();
  await graph.close();
  await platform.dispose();
});

async function found(limits?: { readonly page: number; readonly remembered: number }) {
  const mapping = loadMapping(platform.connectors);
  const keys: Record<string, string[]> = {};
  const pages: number[] = [];
  const sides = { mapping, sql, graph };
  const edges = edgesOf([A, B], entityTable(mapping), sides, new AbortController().signal, limits);
  for await (const { table, keys: page } of edges) {
    (keys[table.table] ??= []).push(...page.map(keyText));
    pages.push(page.length);
  }
  return { keys, pages };
}

const ofRows = {
  'public.relation': RELATIONS.map(([n]) => idOf(n)),
  'public.entity_extract': LINKS.map((link) => JSON.stringify(link)),
};
const inGraphAlone = { 'public.relation': FOREIGN, 'public.entity_extract': [GONE] };
const TABLES = ['public.relation', 'public.entity_extract'] as const;

it.each([
  ['in one page', undefined],
  ['in pages of two', { page: 2, remembered: 100 }],
  ['in pages of one', { page: 1, remembered: 100 }],
])('each key once, %s: those of rows in their order, then what only the graph has', async (_, limits) => {
  const { keys, pages } = await found(limits);
  for (const table of TABLES) {
    const of = keys[table] ?? [];
    const rows = ofRows[table].length;
    expect(of.slice(0, rows)).toEqual(ofRows[table]);
    expect(of.slice(rows).sort()).toEqual([...inGraphAlone[table]].sort());
  }
  expect(Math.max(...pages)).toBeLessThanOrEqual(limits?.page ?? Infinity);
  expect(Math.min(...pages)).toBe(1);
});

it('a second time, of what is in the graph too, where more have rows than are remembered', async () => {
  const { keys } = await found({ page: 2, remembered: 3 });
  const again = [idOf(104)];
  expect(keys['public.relation']?.sort()).toEqual(
    [...ofRows['public.relation'], ...FOREIGN, ...again].sort(),
  );
});
