/** What is written as if it were not in the graph yet: the same as by the ordinary statements, whatever is there. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { KeyedMutation } from '../../src/core/graph.ts';
import type { Graph } from '../../src/neo4j/client.ts';
import { blocked, heldBatch, hold, persist, purgeAll } from '../support/lanes.ts';
import {
  at,
  createTestGraph,
  entity,
  extract,
  nodeDelete,
  relation,
  type TestGraph,
} from '../support/test-graph.ts';

let g: TestGraph;
beforeAll(async () => {
  g = await createTestGraph('fill');
});
afterAll(() => g.dispose());
afterEach(() => g.clear());

const filling = (partition = 0, table = 'public.entity') => g.lane(table, partition, undefined, true);
const ordinary = (partition = 1, table = 'public.entity') => g.lane(table, partition);

async function nodes(): Promise<Record<string, unknown>[]> {
  return g.cypher(
    `MATCH (n:Entity|Extract) UNWIND labels(n) AS label
     WITH n, label ORDER BY toString(n.id), label
     RETURN properties(n) AS properties, collect(label) AS labels`,
  );
}
const titles = async () =>
  (await nodes()).map(({ properties }) => (properties as Record<string, unknown>)['title']);
const tombstones = async () =>
  (
    await g.cypher('MATCH (t:_Tombstone {namespace: $name}) RETURN t.id AS id', {
      name: g.mapping.sink.namespace,
    })
  ).length;

it('writes new nodes as the ordinary statements do', async () => {
  const batch = [
    entity('b', at(2), { typeLabel: 'Ttp', title: 'b' }),
    entity('a', at(1), { typeLabel: null, title: null }),
    entity('c', at(3)),
  ];
  expect(await (await ordinary()).apply(batch)).toEqual({ applied: 3, refused: 0, purged: [] });
  const expected = await nodes();
  await g.clear();
  const lane = await filling();
  expect(await lane.apply(batch)).toEqual({ applied: 3, refused: 0, purged: [] });
  expect(await nodes()).toEqual(expected);
  const extracts = await filling(0, 'public.extract');
  expect(await extracts.apply([extract(1n, at(1)), extract(2n, at(1))])).toMatchObject({ applied: 2 });
});

it('is one transaction if nothing of it is there, and two if something is', async () => {
  let transactions = 0;
  const counting: Graph = {
    ...g.graph,
    transaction(work, options) {
      transactions += 1;
      return g.graph.transaction(work, options);
    },
  };
  const lane = await g.lane('public.entity', 2, counting, true);
  const took = async (mutations: readonly KeyedMutation[]) => {
    const before = transactions;
    await lane.apply(mutations);
    return transactions - before;
  };
  expect(await took([entity('d', at(4)), entity('e', at(4))])).toBe(1);
  expect(await took([entity('d', at(5)), entity('f', at(5))])).toBe(2);
  expect(await took([nodeDelete('d', at(6))])).toBe(1);
});

describe('does what the ordinary statements do', () => {
  it('with a node that is there, older, newer, or a stub', async () => {
    const before = await ordinary();
    await before.apply([entity('older', at(1), { title: 'old' }), entity('newer', at(9), { title: 'new' })]);
    await (await ordinary(0, 'public.relation')).apply([relation(g, 'r', at(1), ['newer', 'stub'])]);
    const lane = await filling();
    const batch = ['older', 'newer', 'stub'].map((key) => entity(key, at(5), { title: 'five' }));
    expect(await lane.apply(batch)).toEqual({ applied: 2, refused: 1, purged: [] });
    expect(await titles()).toEqual(['new', 'five', 'five']);
    expect((await nodes()).flatMap(({ labels }) => labels)).not.toContain('Stub');
  });

  it('with a tombstone', async () => {
    const before = await ordinary();
    await before.apply([nodeDelete('gone', at(9)), nodeDelete('back', at(1))]);
    const lane = await filling();
    const batch = ['gone', 'back', 'other'].map((key) => entity(key, at(5), { title: key }));
    expect(await lane.apply(batch)).toEqual({ applied: 2, refused: 1, purged: [] });
    expect(await titles()).toEqual(['back', 'other']);
    expect(await tombstones()).toBe(1);
  });

  it('below a floor', async () => {
    const before = await ordinary();
    await before.truncate(at(5));
    const lane = await filling();
    expect(await lane.apply([entity('a', at(4)), entity('b', at(6), { title: 'b' })])).toMatchObject({
      applied: 1,
      refused: 1,
    });
    expect(await titles()).toEqual(['b']);
  });

  it('below what is purged', async () => {
    const before = await ordinary();
    await before.apply([nodeDelete('gone', at(5))]);
    expect(await purgeAll(g)).toBe(1);
    const lane = await filling();
    expect(await lane.apply([entity('gone', at(4)), entity('b', at(6), { title: 'b' })])).toEqual({
      applied: 1,
      refused: 0,
      purged: ['gone'],
    });
    expect(await titles()).toEqual(['b']);
  });
});

describe('beside another transaction on the same key', () => {
  it('that purges the tombstone of one before it is looked for: that one is asked for again', async () => {
    await (await ordinary()).apply([nodeDelete('b', at(3))]);
    const lane = await filling();
    const held = await hold(g, `CREATE (:Entity {id: 'a'})`);
    const written = persist(() => lane.apply([entity('a', at(5)), entity('b', at(2))]));
    await blocked(g, 'Entity');
    expect(await purgeAll(g)).toBe(1);
    await held.release('rollback');
    expect(await written).toEqual({ applied: 1, refused: 0, purged: ['b'] });
  });

  it('that deletes it and commits first: it stays deleted', async () => {
    const [deleting, lane] = [await ordinary(), await filling()];
    const { holding, reached, release } = heldBatch();
    const deleted = deleting.apply([nodeDelete('k', at(5))], holding);
    await reached;
    const written = persist(() => lane.apply([entity('k', at(3))]));
    await blocked(g, 'Entity');
    release();
    await deleted;
    expect(await written).toMatchObject({ applied: 0, refused: 1 });
    expect(await nodes()).toEqual([]);
  });

  it('that deletes it and commits last: it is deleted', async () => {
    const [deleting, lane] = [await ordinary(), await filling()];
    const { holding, reached, release } = heldBatch();
    const written = lane.apply([entity('k', at(3))], holding);
    await reached;
    const deleted = persist(() => deleting.apply([nodeDelete('k', at(5))]));
    await blocked(g, 'Entity');
    release();
    await Promise.all([written, deleted]);
    expect(await nodes()).toEqual([]);
    expect(await tombstones()).toBe(1);
  });

  it.each([
    [3, 5],
    [5, 3],
  ])('that writes it, at %i and at %i: the newer one stands', async (first, second) => {
    const [other, lane] = [await ordinary(), await filling()];
    const { holding, reached, release } = heldBatch();
    const one = other.apply([entity('k', at(first), { title: `at ${first}` })], holding);
    await reached;
    const two = persist(() => lane.apply([entity('k', at(second), { title: `at ${second}` })]));
    await blocked(g, 'Entity');
    release();
    await Promise.all([one, two]);
    expect(await titles()).toEqual(['at 5']);
  });
});
