/** A graph that is emptied: all of it and nothing else goes, and nobody writes to it meanwhile or behind it. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { isAppError } from '../../src/core/errors.ts';
import { emptyGraph, graphSize } from '../../src/neo4j/empty.ts';
import { graphIdentity } from '../../src/neo4j/graph-id.ts';
import { ensureProgress, readProgress } from '../../src/neo4j/progress.ts';
import { markAsked, markProved, markRebuild, readRebuild } from '../../src/neo4j/rebuild-mark.ts';
import { ensureSchema } from '../../src/neo4j/schema.ts';
import { blocked, hold } from '../support/lanes.ts';
import {
  at,
  createTestGraph,
  entity,
  extract,
  GENERATION,
  link,
  nodeDelete,
  relation,
  type TestGraph,
} from '../support/test-graph.ts';

const OF = { source: '1/test', republish: false };

let g: TestGraph;
beforeAll(async () => {
  g = await createTestGraph('empty');
  await graphIdentity(g.graph, g.mapping);
});
afterAll(() => g.dispose());
const signal = () => AbortSignal.timeout(60_000);
const generations = () => new Map(g.mapping.tables.map(({ topic }) => [topic, GENERATION]));
beforeEach(async () => {
  await ensureSchema(g.graph, g.mapping, signal());
  await ensureProgress(g.graph, g.mapping, generations());
});
afterEach(async () => {
  await g.cypher('MATCH (n:_Graph {id: $id}) REMOVE n.rebuild, n.rebuildRepublish', {
    id: g.mapping.sink.namespace,
  });
  await g.clear();
});

const ignore = () => undefined;
const empty = async (onRemoved: (total: number) => void = ignore) => {
  await markRebuild(g.graph, g.mapping, 'emptying', OF);
  await emptyGraph(g.graph, g.mapping, onRemoved, signal());
};
const refusedAs = (code: Parameters<typeof isAppError>[1]) => (error: unknown) => isAppError(error, code);

it('loses what is of the mapping and the namespace, whatever it hangs on, and nothing else', async () => {
  const other = `${g.mapping.sink.namespace}x`;
  const entities = await g.lane('public.entity');
  await entities.apply([entity('a', at(1)), entity('b', at(2)), nodeDelete('gone', at(3))]);
  await (await g.lane('public.extract')).apply([extract(1n, at(4))]);
  await (await g.lane('public.relation')).apply([relation(g, 'r', at(5), ['a', 'stub'])]);
  await (await g.lane('public.entity_extract')).apply([link(g, ['b', 1n, 'observed'], at(6))]);
  await g.cypher(
    `MATCH (n:Entity {id: 'a'}) CREATE (n)-[:BY_HAND]->(:ByHand {of: $other})
     CREATE (:_Tombstone {id: $other + '|t|k', namespace: $other}), (:_Floor {id: $other + '|t', namespace: $other})`,
    { other },
  );
  const size = await graphSize(g.graph, g.mapping);
  expect(size.own).toBeGreaterThanOrEqual(4 + 1 + g.mapping.tables.length);
  const removed: number[] = [];
  await empty((total) => removed.push(total));
  expect(await graphSize(g.graph, g.mapping)).toMatchObject({ own: 0 });
  // Three nodes, a stub, two relationships, a tombstone, a floor for each table.
  expect(removed.at(-1)).toBe(4 + 2 + 1 + g.mapping.tables.length);
  expect(await readProgress(g.graph, g.mapping)).toEqual([]);
  const left = await g.cypher(
    'MATCH (n) WHERE n.namespace = $other OR n.of = $other RETURN labels(n)[0] AS label ORDER BY label',
    { other },
  );
  expect(left).toEqual([{ label: 'ByHand' }, { label: '_Floor' }, { label: '_Tombstone' }]);
  await g.cypher('MATCH (n) WHERE n.namespace = $other OR n.of = $other DETACH DELETE n', { other });
});

it('takes nothing more of who had a partition', async () => {
  const lane = await g.lane('public.entity');
  await lane.apply([entity('a', at(1))]);
  await empty();
  // Not by what it misses of the graph, the floor of its table first.
  await expect(lane.apply([entity('b', at(2))])).rejects.toMatchObject({
    code: 'PROGRESS_LOST',
    message: expect.stringMatching(/lost its progress of/) as string,
  });
  await ensureSchema(g.graph, g.mapping, signal());
  await expect(lane.apply([entity('b', at(2))])).rejects.toSatisfy(refusedAs('PROGRESS_LOST'));
  expect((await graphSize(g.graph, g.mapping)).own).toBe(g.mapping.tables.length); // their floors
});

it('waits for a batch that is under way, and takes what it has written along', async () => {
  const lane = await g.lane('public.entity');
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  let arrive = (): void => undefined;
  const reached = new Promise<void>((resolve) => (arrive = resolve));
  const written = lane.apply([entity('late', at(1))], () => {
    arrive();
    return released;
  });
  await reached;
  await markRebuild(g.graph, g.mapping, 'emptying', OF);
  const emptied = emptyGraph(g.graph, g.mapping, ignore, signal());
  await blocked(g, '_Progress');
  release();
  expect(await written).toMatchObject({ applied: 1 });
  await emptied;
  expect((await graphSize(g.graph, g.mapping)).own).toBe(0);
});

it('gives nobody progress meanwhile, also if it was just about to', async () => {
  await empty();
  await expect(ensureProgress(g.graph, g.mapping, generations())).rejects.toSatisfy(
    refusedAs('GRAPH_EMPTYING'),
  );
  await markRebuild(g.graph, g.mapping, 'building', OF);
  await ensureProgress(g.graph, g.mapping, generations());

  const marking = await hold(
    g,
    `MATCH (x:_Graph {id: '${g.mapping.sink.namespace}'}) SET x.rebuild = 'emptying'`,
  );
  const asked = ensureProgress(g.graph, g.mapping, generations());
  asked.catch(ignore);
  try {
    await blocked(g, '_Graph');
  } finally {
    await marking.release();
  }
  await expect(asked).rejects.toSatisfy(refusedAs('GRAPH_EMPTYING'));
});

it('says what goes on, from when on, and by which mapping; and nothing once it is proved', async () => {
  expect(await readRebuild(g.graph, g.mapping)).toBeNull();
  await markRebuild(g.graph, g.mapping, 'emptying', OF);
  const begun = await readRebuild(g.graph, g.mapping);
  expect(begun).toMatchObject({
    state: 'emptying',
    mapping: expect.stringMatching(/^[0-9a-f]{16}$/) as string,
  });
  await markRebuild(g.graph, g.mapping, 'building', OF);
  expect(await readRebuild(g.graph, g.mapping)).toEqual({ ...begun, state: 'building' });
  await markRebuild(g.graph, g.mapping, 'building', { ...OF, republish: true });
  await markRebuild(g.graph, g.mapping, 'building', OF);
  expect(await readRebuild(g.graph, g.mapping)).toEqual({ ...begun, state: 'building', republish: true });
  await markAsked(g.graph, g.mapping);
  expect(await readRebuild(g.graph, g.mapping)).toEqual({ ...begun, state: 'building', republish: false });
  await markProved(g.graph, g.mapping);
  expect(await readRebuild(g.graph, g.mapping)).toBeNull();
});
