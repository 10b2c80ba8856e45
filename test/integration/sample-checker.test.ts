import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { checkGraph, type CheckResult } from '../../src/sample/checker.ts';
import { hashNeo4j } from '../support/canonical-neo4j.ts';
import { hashPostgres } from '../support/canonical-postgres.ts';
import { compareHashes } from '../support/compare.ts';
import { soak } from '../support/soak.ts';
import { createSampleDatabase, type SampleDatabase } from '../support/sample-database.ts';
import { createSampleGraph, FIRST_LINE, id, type SampleGraph, writeRows } from '../support/sample-graph.ts';

let database: SampleDatabase;
let graph: SampleGraph;
beforeAll(async () => {
  database = await createSampleDatabase('sample_checker');
  graph = createSampleGraph('checker', { useBigInt: true });
  await writeRows(database.client);
});
afterAll(async () => {
  await graph.dispose();
  await database.dispose();
});

async function compared(of: SampleGraph = graph): Promise<readonly string[]> {
  const source = await hashPostgres(database.pool);
  return compareHashes(source, await hashNeo4j(of.driver, of.names, of.database));
}

function checked(pageRows = 2, of: SampleGraph = graph): Promise<CheckResult> {
  return checkGraph(database.client, of.driver, { names: of.names, database: of.database, pageRows });
}

const entity = (n: number): string => `MATCH (n:E {id: '${id(n)}'})`;
const relation = (n: number): string => `MATCH ()-[r:RELATED {id: '${id(n)}'}]->()`;

/** [what is wrong, the Cypher that makes it so, what the checker says of it]. */
const WRONGS: readonly (readonly [string, string, RegExp])[] = [
  ['an entity is missing', `${entity(5)} DETACH DELETE n`, /entity .* is not in the graph/],
  ['an entity too many', `CREATE (:E:Ttp {id: '${id(6)}', type: 'ttp'})`, /entity .* is only in the graph/],
  ['an entity beyond the last', `CREATE (:E {id: 'zzz'})`, /entity zzz is only in the graph/],
  ['an entity before the first', `CREATE (:E {id: ''})`, /is only in the graph/],
  ['an entity without an id', `CREATE (:E {title: 'x'})`, /1 nodes that have no comparable id/],
  ['an entity with an integer id', `CREATE (:E {id: 1})`, /1 nodes that have no comparable id/],
  [
    'an entity is there twice',
    `${entity(1)} CREATE (m:E:Indicator) SET m = properties(n)`,
    /is in the graph twice/,
  ],
  ['another title', `${entity(1)} SET n.title = 'Fox'`, /differs in title/],
  ['no title for an empty one', `${entity(5)} REMOVE n.title`, /differs in title/],
  ['a title that is a number', `${entity(3)} SET n.title = 1.2345678901234567e19`, /differs in title/],
  ['no data_id', `${entity(3)} REMOVE n.data_id`, /differs in data_id/],
  ['no tlp', `${entity(5)} REMOVE n.tlp`, /differs in tlp/],
  ['rounded data', `${entity(1)} SET n.data = replace(n.data, '890.120', '890.12')`, /differs in data/],
  ['data printed otherwise', `${entity(5)} SET n.data = '{"title":""}'`, /differs in data/],
  ['other meta', `${entity(2)} SET n.meta = '{}'`, /differs in meta/],
  [
    'a time off by a microsecond',
    `${entity(3)} SET n.created_at = n.created_at + 1`,
    /differs in created_at/,
  ],
  [
    'a time that does not saturate',
    `${entity(1)} SET n.last_updated_at = n.last_updated_at - 1`,
    /last_updated_at/,
  ],
  [
    'a time that is a float',
    `${entity(3)} SET n.last_updated_at = toFloat(n.last_updated_at)`,
    /last_updated_at/,
  ],
  [
    'a time that is text',
    `${entity(3)} SET n.last_updated_at = toString(n.last_updated_at)`,
    /last_updated_at/,
  ],
  ['no type label', `${entity(1)} REMOVE n:Indicator`, /differs in label/],
  ['the type label of before', `${entity(1)} SET n:Ttp`, /differs in label/],
  ['a label for an unlisted type', `${entity(4)} SET n:Report`, /differs in label/],
  ['a property too many', `${entity(1)} SET n.revoked = true`, /differs in properties not mapped/],
  ['an entity that is still a stub', `${entity(1)} SET n:Stub`, /is not in the graph/],
  ['a stub that nothing holds', `CREATE (:E:Stub {id: 'a'})`, /1 stubs without a relationship/],
  ['a relation is missing', `${relation(1)} DELETE r`, /relation .* is not in the graph/],
  ['a relation too many', `${relation(1)} SET r.id = 'zz'`, /relation zz is only in the graph/],
  [
    'a relation is there twice',
    `MATCH (a)-[r:RELATED {id: '${id(1)}'}]->(b) CREATE (a)-[s:RELATED]->(b) SET s = properties(r)`,
    /is in the graph twice/,
  ],
  [
    'a relation is there twice, elsewhere',
    `MATCH (a)-[r:RELATED {id: '${id(1)}'}]->(b) CREATE (b)-[s:RELATED]->(b) SET s = properties(r)`,
    /relation .* (is in the graph twice|differs in source)/,
  ],
  [
    'a relation the other way round',
    `MATCH (a)-[r:RELATED {id: '${id(1)}'}]->(b) CREATE (b)-[s:RELATED]->(a) SET s = properties(r) DELETE r`,
    /differs in source, target/,
  ],
  [
    'a relation that did not move',
    `MATCH (a)-[r:RELATED {id: '${id(3)}'}]->() ${entity(1)} CREATE (a)-[s:RELATED]->(n) SET s = properties(r) DELETE r`,
    /differs in target/,
  ],
  ['a relation without an id', `${relation(1)} REMOVE r.id`, /1 relationships that have no comparable key/],
  ['another key', `${relation(2)} SET r.key = 'a'`, /differs in key/],
  ['another subtype', `${relation(3)} REMOVE r.subtype`, /differs in subtype/],
  ['another time of a relation', `${relation(3)} SET r.last_updated_at = 0`, /differs in last_updated_at/],
  ['a property of a relation too many', `${relation(3)} SET r.data = '{}'`, /properties not mapped/],
  [
    'an extract is missing',
    `MATCH (n:X {id: 9007199254740993}) SET n:Stub`,
    /extract 9007199254740993 is not in/,
  ],
  [
    'an extract with a rounded id',
    `MATCH (n:X {id: 9007199254740993}) SET n.id = 9007199254740992`,
    /extract/,
  ],
  ['an extract too many', `CREATE (:X {id: 2})`, /extract 2 is only in the graph/],
  ['an extract with a textual id', `CREATE (:X {id: '2'})`, /1 nodes that have no comparable id/],
  ['another value', `MATCH (n:X {id: 1}) SET n.value = '10.0.0.2'`, /differs in value/],
  ['another kind', `MATCH (n:X {id: 1}) SET n.kind = 'ipv6'`, /differs in kind/],
  ['another meta of an extract', `MATCH (n:X {id: 1}) SET n.meta = '{"aa": 2, "b": 1}'`, /differs in meta/],
  [
    'a link is missing',
    `MATCH ()-[r:LINKED {link_type: '🦊'}]->() DELETE r`,
    /entity_extract .* is not in the graph/,
  ],
  [
    'a link of another type',
    `MATCH ()-[r:LINKED {link_type: '🦊'}]->() SET r.link_type = 'x'`,
    /entity_extract/,
  ],
  [
    'a listed type as LINKED',
    `MATCH (a)-[r:SIGHTED]->(b) CREATE (a)-[s:LINKED]->(b) SET s = properties(r), s.link_type = 'sighted' DELETE r`,
    /differs in type/,
  ],
  [
    'a link is there twice',
    `MATCH (a)-[r:OBSERVED]->(b) CREATE (a)-[s:OBSERVED]->(b) SET s = properties(r)`,
    /twice/,
  ],
  [
    'a link the other way round',
    `MATCH (a)-[r:OBSERVED]->(b) CREATE (b)-[s:OBSERVED]->(a) SET s = properties(r) DELETE r`,
    /is not in the graph/,
  ],
  [
    'a link to an entity',
    `${entity(1)} CREATE (n)-[:OBSERVED]->(n)`,
    /1 relationships that have no comparable key/,
  ],
  [
    'another time of a link',
    `MATCH ()-[r:SIGHTED]->() SET r.last_updated_at = 1`,
    /differs in last_updated_at/,
  ],
  ['a property of a link too many', `MATCH ()-[r:SIGHTED]->() SET r.created_at = 1`, /properties not mapped/],
];

/** Seen by the canonical reader alone. */
const SUBTLE_WRONGS: readonly (readonly [string, string])[] = [
  ['a stub with content', `MATCH (n:E:Stub) SET n.type = 'ttp'`],
  ['a stub with a type label', `MATCH (n:E:Stub) SET n:Ttp`],
  ['a stub twice', `MATCH (n:E:Stub {id: '${id(8)}'}) CREATE (:E:Stub {id: n.id})-[:RELATED {id: 'x'}]->(n)`],
  ['a link type on a listed link', `MATCH ()-[r:SIGHTED]->() SET r.link_type = 'sighted'`],
];

describe('the checker and the canonical hashes', () => {
  beforeEach(() => graph.write());

  it('find the graph equal that was written by hand', async () => {
    expect(await compared()).toEqual([]);
    expect((await hashPostgres(database.pool)).lines[0]).toBe(FIRST_LINE);
    expect((await hashNeo4j(graph.driver, graph.names, graph.database)).lines[0]).toBe(FIRST_LINE);
    for (const pageRows of [1, 2, 3, 1_000]) {
      expect(await checked(pageRows)).toEqual({
        equal: true,
        rows: { entity: 5, relation: 3, extract: 3, entity_extract: 7 },
        nodes: 8,
        relationships: 10,
        stubs: 3,
        differences: [],
      });
    }
  });

  it.each([{}, { useBigInt: true }])('take what a driver with %o gives', async (config) => {
    const same: SampleGraph = createSampleGraph('checker_driver', config);
    try {
      await same.write();
      expect(await compared(same)).toEqual([]);
      expect(await checked(2, same)).toMatchObject({ equal: true });
    } finally {
      await same.dispose();
    }
  });

  // In ordinary runs every third one.
  it.each(WRONGS.filter((_, i) => soak || i % 3 === 0))('see %s', async (_, cypher, said) => {
    await graph.cypher(cypher);
    expect(await compared()).not.toEqual([]);
    for (const pageRows of [2, 1_000]) {
      const { equal, differences } = await checked(pageRows);
      expect(equal).toBe(false);
      expect(differences.join('\n')).toMatch(said);
    }
  });

  it.each(SUBTLE_WRONGS)('see %s', async (_, cypher) => {
    await graph.cypher(cypher);
    expect(await compared()).not.toEqual([]);
  });

  it('say what differs, the first lines of it, and no value in the checker', async () => {
    await graph.cypher(`UNWIND range(1, 40) AS n CREATE (:E {id: 'surplus ' + n, title: 'secret'})`);
    const { differences, equal } = await checked();
    expect(equal).toBe(false);
    expect(differences).toHaveLength(20);
    expect(differences.join()).not.toContain('secret');
    const lines = await compared();
    expect(lines.filter((line) => line.startsWith('+ '))).toHaveLength(10);
    expect(lines.at(-1)).toBe('and 30 more lines');
  });

  it('stop when told', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(checkGraph(database.client, graph.driver, { names: graph.names, signal })).rejects.toThrow(
      'enough',
    );
  });
});

describe('the checker and the canonical hashes of nothing', () => {
  it('are equal', async () => {
    const empty = await createSampleDatabase('sample_nothing');
    const nothing = createSampleGraph('nothing');
    try {
      expect(
        compareHashes(
          await hashPostgres(empty.pool),
          await hashNeo4j(nothing.driver, nothing.names, nothing.database),
        ),
      ).toEqual([]);
      const result = await checkGraph(empty.client, nothing.driver, { names: nothing.names });
      expect(result).toMatchObject({ equal: true, nodes: 0, relationships: 0, stubs: 0 });
    } finally {
      await nothing.dispose();
      await empty.dispose();
    }
  });
});
