/** The scan of sync-data on both servers, against a model in memory: random entities, filters and page sizes. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadMapping } from '../../src/config/connectors.ts';
import type { ScanStart } from '../../src/core/check-spool.ts';
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

it('finds what a look at everything finds, whatever the filter, the size of pages, and where it goes on', async () => {
  const size = fc.integer({ min: 1, max: 9 });
  await fc.assert(
    fc.asyncProperty(entities, filters, size, fc.nat(), async (drawn, filter, batchSize, at) => {
      const all: Entity[] = drawn.map(({ source, graph: g, same }) => ({ source, graph: same ? source : g }));
      await write(all);
      const table = entityTable(loadMapping(platform.connectors));
      const sources = {
        source: sourceEntities(sql, table, filter),
        graph: graphEntities(graph, table, filter),
        filtered: filter.types !== null || filter.changedAfterMicros !== null,
        batchSize,
        ahead: () => 2,
      };
      async function found(start: ScanStart | null) {
        const pages: [string, Verdict | null][][] = [];
        const ends: ScanStart[] = [];
        let row = start?.row ?? null;
        for await (const pairs of scan(sources, start, new AbortController().signal)) {
          pages.push(pairs.map((pair) => [pair.id, verdictOf(pair.source, pair.graph)]));
          row = pairs.findLast(({ source }) => source !== null)?.id ?? row;
          ends.push({ after: pairs.at(-1)?.id ?? '', row });
        }
        return { pages, ends };
      }
      const { pages, ends } = await found(null);
      expect(pages.flat()).toEqual(expected(all, filter));
      if (ends.length === 0) return;
      const done = at % ends.length;
      const start = ends[done] as ScanStart;
      // Before the end of what is done, and behind its last row: compared already, as what it was.
      await platform.sql.query(
        `insert into entity (id, type, data, created_at, last_updated_at) values ($1, 'ttp', '{}', now(), now())
         on conflict do nothing`,
        [start.after.slice(0, 36)],
      );
      expect((await found(start)).pages).toEqual(pages.slice(done + 1));
    }),
    { numRuns: 40 },
  );
}, 120_000);

/** In the order of their bytes. By UTF-16 the emoji are before U+E000, U+FF5E and U+FFFD; by a locale, cases are mixed. */
const TEXTS = [
  '',
  '\u0001',
  ' ',
  '"',
  "',",
  'A',
  'B',
  '\\',
  '\\u0041',
  'a',
  'a b',
  'ab',
  'a\u0301',
  'z',
  '\u00e1',
  '\u0800',
  '\ud7ff',
  '\ue000',
  '\uff5e',
  '\uff5e\u{1f600}',
  '\ufffd',
  '\u{10000}',
  '\u{1f600}',
  '\u{1f600}\uff5e',
  '\u{10ffff}',
];

/** In the order of their values. As text or as doubles they have another one. */
const INTEGERS = [
  -(2n ** 63n),
  -10n,
  -9n,
  -1n,
  0n,
  1n,
  2n,
  9n,
  10n,
  11n,
  100n,
  2n ** 53n,
  2n ** 53n + 1n,
  2n ** 63n - 2n,
  2n ** 63n - 1n,
];

it.each([
  ['text', 'that of their bytes', TEXTS],
  ['bigint', 'that of their values', INTEGERS],
] as const)('%s keys have one order on both servers, %s, however small the pages', async (kind, _, keys) => {
  const of = entityTable(loadMapping(platform.connectors));
  const table = {
    ...of,
    mapping: { ...of.mapping, key: [{ name: 'id', kind }] },
    key: { ...of.key, kind },
  };
  const label = platform.names.labels.entity;
  await platform.cypher(`MATCH (n:${label}) DELETE n`);
  await platform.sql.query(`truncate entity; alter table entity alter id type ${kind} using null::${kind}`);
  // Every third is in PostgreSQL alone, and every third in the graph.
  const verdicts = keys.map((id, n): [string, string] => [
    String(id),
    (['ok', 'missing', 'not_deleted'] as const)[n % 3] ?? '',
  ]);
  const but = (without: string) => keys.filter((_id, n) => verdicts[n]?.[1] !== without).toReversed();
  await platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at) select id, 'ttp', '{}', now(), 'epoch' from unnest($1::${kind}[]) id`,
    [but('not_deleted').map(String)],
  );
  await platform.cypher(`UNWIND $ids AS id CREATE (:${label} {id: id, type: 'ttp', last_updated_at: 0})`, {
    ids: but('missing'),
  });
  // Of other types than rows have: between, equal to, and beyond what they have.
  await platform.cypher(`UNWIND $ids AS id CREATE (:${label} {id: id, type: 'ttp', last_updated_at: 0})`, {
    ids: kind === 'text' ? [1n, 0.5, true] : ['1', 0.5, 1e300, Infinity, true],
  });
  const unfiltered = { changedAfterMicros: null, types: null };
  expect(await graphEntities(graph, table, unfiltered).countUnnamed()).toBe(kind === 'text' ? 3 : 5);
  for (const [batchSize, types] of [
    [1, null],
    [2, null],
    [3, ['ttp']],
    [100, null],
  ] as const) {
    const filter = { changedAfterMicros: null, types };
    const sources = {
      source: sourceEntities(sql, table, filter),
      graph: graphEntities(graph, table, filter),
      filtered: types !== null,
      batchSize,
      ahead: () => 2,
    };
    const found: [string, string | null][] = [];
    for await (const pairs of scan(sources, null, new AbortController().signal))
      for (const { id, source, graph: node } of pairs) found.push([id, verdictOf(source, node)]);
    expect(found).toEqual(verdicts);
  }
});

/** A foreign node's id need not be one that a row can have. */
const idOf = (n: number, { source }: Entity) =>
  `${uuid(n)}${source === null && n % 2 === 1 ? ' foreign' : ''}`;
const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

function expected(all: readonly Entity[], { changedAfterMicros, types }: EntityFilter): [string, string][] {
  const chosen = (one: Side | null) =>
    one !== null &&
    (types === null || types.includes(one.type)) &&
    (changedAfterMicros === null || BigInt(one.seconds) * 1_000_000n > changedAfterMicros);
  return all.flatMap((entity, n): [string, string][] => {
    const { source, graph: inGraph } = entity;
    const id = idOf(n, entity);
    if (!chosen(source) && !chosen(inGraph)) return [];
    if (source === null) return [[id, 'not_deleted']];
    if (inGraph === null) return [[id, 'missing']];
    const ahead = inGraph.seconds - source.seconds;
    return [[id, ahead === 0 ? 'ok' : ahead < 0 ? 'outdated' : 'strange']];
  });
}

async function write(all: readonly Entity[]): Promise<void> {
  const label = platform.names.labels.entity;
  await platform.sql.query('truncate entity');
  await platform.cypher(`MATCH (n:${label}) DELETE n`);
  const rows = all.flatMap(({ source }, n) => (source === null ? [] : [{ id: uuid(n), ...source }]));
  await platform.sql.query(
    `insert into entity (id, type, data, created_at, last_updated_at)
     select id, type, '{}', now(), 'epoch'::timestamptz + seconds * interval '1 second'
     from jsonb_to_recordset($1) as r(id uuid, type text, seconds int)`,
    [JSON.stringify(rows)],
  );
  const nodes = all.flatMap((entity, n) => {
    const { graph: g } = entity;
    if (g === null) return [];
    return [{ id: idOf(n, entity), type: g.type, last_updated_at: BigInt(g.seconds) * 1_000_000n }];
  });
  await platform.cypher(`UNWIND $nodes AS node CREATE (n:${label}) SET n = node`, { nodes });
  await platform.cypher(`CREATE (:${label}:Stub {id: 'a stub'})`);
}
