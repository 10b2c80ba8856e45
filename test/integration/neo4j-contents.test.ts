/** What a comparison by content reads of the graph: by keys, in pages of keys, and what is neither. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { GraphKey } from '../../src/core/keys.ts';
import { graphContents, idleStubs } from '../../src/neo4j/contents.ts';
import {
  at,
  createTestGraph,
  entity,
  extract,
  type Lane,
  link,
  relation,
  type TestGraph,
} from '../support/test-graph.ts';

let own: TestGraph;
let lanes: Record<'entity' | 'extract' | 'relation' | 'link', Lane>;
beforeAll(async () => {
  own = await createTestGraph('contents');
  lanes = {
    entity: await own.lane('public.entity'),
    extract: await own.lane('public.extract'),
    relation: await own.lane('public.relation'),
    link: await own.lane('public.entity_extract'),
  };
});
afterAll(() => own.dispose());
beforeEach(() => own.clear());

const contents = (table: string) => graphContents(own.graph, own.table(`public.${table}`));

async function allOf(pages: AsyncGenerator<readonly GraphKey[]>): Promise<GraphKey[]> {
  const all: GraphKey[] = [];
  for await (const page of pages) all.push(...page);
  return all;
}

it('has of a node its key, position, properties, and of its labels those of types', async () => {
  await lanes.entity.apply([entity('a', at(1)), entity('plain', at(1), { typeLabel: null })]);
  await own.cypher(`MATCH (n:Entity {id: 'a'}) SET n:Watched, n.score = 1.0`);
  const [a, ...more] = await contents('entity').byKeys(['a', 'nobody']);
  expect(more).toEqual([]);
  expect({ key: a?.key, position: a?.position }).toEqual({ key: 'a', position: at(1) });
  expect(Object.fromEntries(a?.content ?? [])).toEqual({
    id: 'a',
    'labels()': 'Indicator',
    data_id: 'x-a',
    type: 'indicator',
    title: 'a title',
    created_at: 1n,
    last_updated_at: 2n,
    data: '{"n": 1}',
    meta: '{}',
    score: 1,
    _position: at(1),
  });
  const [plain] = await contents('entity').byKeys(['plain']);
  expect(plain?.content.get('labels()')).toBeNull();
});

it('has of a relationship its type and the keys of its ends, stubs or not, if they are the ends of the mapping', async () => {
  await lanes.relation.apply([relation(own, 'r', at(1), ['a', 'b'])]);
  await lanes.link.apply([link(own, ['a', 7n, 'seen'], at(2))]);
  await own.cypher(`MATCH (a:Entity {id: 'a'}) CREATE (a)-[:RELATED {id: 'odd'}]->(:Extract {id: 8})`);
  const [r, odd] = await contents('relation').byKeys(['r', 'odd']);
  expect(Object.fromEntries(r?.content ?? [])).toMatchObject({
    'type()': own.nameOf('RELATED'),
    'startNode()': 'a',
    'endNode()': 'b',
    key: 'targets',
  });
  expect(Object.fromEntries(odd?.content ?? [])).toMatchObject({ 'startNode()': 'a', 'endNode()': null });
  expect(odd?.position).toBe('');
  const [linked] = await contents('entity_extract').byKeys(['["a","7","seen"]']);
  expect(Object.fromEntries(linked?.content ?? [])).toMatchObject({
    'type()': own.nameOf('LINKED'),
    'startNode()': 'a',
    'endNode()': 7n,
    link_type: 'seen',
  });
});

it('has no stubs, neither by key nor in pages', async () => {
  await lanes.relation.apply([relation(own, 'r', at(1), ['a', 'b'])]);
  await lanes.entity.apply([entity('a', at(2))]);
  expect((await contents('entity').byKeys(['a', 'b'])).map(({ key }) => key)).toEqual(['a']);
  expect(await allOf(contents('entity').keyPages(10))).toEqual(['a']);
  expect(await contents('entity').countUnkeyed()).toBe(0);
});

it.each([1, 2, 3, 100])(
  'pages go through text, then integers, %i at a time; the rest is counted',
  async (limit) => {
    await lanes.extract.apply([
      extract(-5n, at(1)),
      extract(9_223_372_036_854_775_807n, at(1)),
      extract(3n, at(1)),
    ]);
    await own.cypher(
      `CREATE (:Extract {id: '\uff5e'}), (:Extract {id: '🦊'}), (:Extract {id: ''}), (:Extract {id: 4.5}),
            (:Extract {id: true}), (:Extract), (:Extract:Stub {id: 1}), (:Extract {id: date('2024-01-01')})`,
    );
    const pages: number[] = [];
    const keys: GraphKey[] = [];
    for await (const page of contents('extract').keyPages(limit)) {
      pages.push(page.length);
      keys.push(...page);
    }
    expect(keys).toEqual(['', '\uff5e', '🦊', -5n, 3n, 9_223_372_036_854_775_807n]);
    expect(Math.max(...pages)).toBeLessThanOrEqual(limit);
    expect(await contents('extract').countUnkeyed()).toBe(4);
  },
);

it('finds a key that stands under several types once in pages, and everything that bears it by key', async () => {
  await lanes.link.apply([
    link(own, ['a', 1n, 'observed'], at(1)),
    link(own, ['a', 1n, 'seen'], at(1)),
    link(own, ['a', 2n, 'sighted'], at(1)),
  ]);
  await own.cypher(
    `MATCH (a)-[r:OBSERVED]->(x) CREATE (a)-[s:SIGHTED]->(x), (a)-[l:LINKED]->(x) SET s = properties(r), l = properties(r)`,
  );
  const { keyPages, byKeys } = contents('entity_extract');
  const [first, second, third] = ['["a","1","observed"]', '["a","2","sighted"]', '["a","1","seen"]'];
  for (const limit of [1, 2, 10]) expect(await allOf(keyPages(limit))).toEqual([first, second, third]);
  const types = (await byKeys([first])).map(({ content }) => content.get('type()'));
  expect(types).toEqual(['OBSERVED', 'SIGHTED', 'LINKED'].map((type) => own.nameOf(type as 'LINKED')));
});

it('knows stubs that nothing holds', async () => {
  await lanes.relation.apply([relation(own, 'r', at(1), ['a', 'b'])]);
  await own.cypher(
    `CREATE (:Entity:Stub {id: 'x'}), (:Entity:Stub {id: 'y'}), (:Entity {id: 'z'}), (:Extract:Stub {id: 5})`,
  );
  const { target } = own.table('public.entity');
  if (target.kind !== 'node') throw new Error('entities are nodes');
  const stubs = idleStubs(own.graph, target);
  for (const limit of [1, 10]) expect(await allOf(stubs.keyPages(limit))).toEqual(['x', 'y']);
  expect(await stubs.among(['a', 'b', 'y', 'z', 'nobody'])).toEqual(['y']);
});
