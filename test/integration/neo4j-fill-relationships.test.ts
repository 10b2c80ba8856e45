/** Relationships that are written as if they were not in the graph yet: the same as by the ordinary statements. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { KeyedMutation } from '../../src/core/graph.ts';
import type { Graph } from '../../src/neo4j/client.ts';
import { blocked, heldBatch, hold, persist, purgeAll } from '../support/lanes.ts';
import {
  at,
  createTestGraph,
  entity,
  extract,
  link,
  nodeDelete,
  relation,
  relationDelete,
  type TestGraph,
} from '../support/test-graph.ts';

let g: TestGraph;
beforeAll(async () => {
  g = await createTestGraph('fillrel');
});
afterAll(() => g.dispose());
afterEach(() => g.clear());

const filling = (table = 'public.relation') => g.lane(table, 0, undefined, true);
const ordinary = (table = 'public.relation') => g.lane(table, 1);

const entities = async (...keys: string[]) =>
  (await ordinary('public.entity')).apply(keys.map((key) => entity(key, at(1))));

/** `a -[name]-> b`, a stub in brackets. */
async function graph(): Promise<string[]> {
  const rows = await g.cypher(
    `MATCH (n:Entity|Extract) OPTIONAL MATCH (n)-[r]->(m)
     RETURN n, r, m, n:Stub AS stub, m:Stub AS otherStub`,
  );
  interface Element {
    readonly properties: Readonly<Record<string, unknown>>;
  }
  const nameOf = (node: unknown, stub: unknown) => {
    const id = String((node as Element).properties['id']);
    return stub === true ? `(${id})` : id;
  };
  return rows
    .map(({ n, r, m, stub, otherStub }) => {
      const from = nameOf(n, stub);
      if (r === null) return from;
      const { properties } = r as Element;
      return `${from} -[${JSON.stringify(properties, (_, v: unknown) => (typeof v === 'bigint' ? Number(v) : v))}]-> ${nameOf(m, otherStub)}`;
    })
    .sort();
}
const ends = async () => (await graph()).map((line) => line.replace(/ -\[.*\]-> /, ' ')).sort();
const names = async () =>
  (await g.cypher('MATCH ()-[r:RELATED]->() RETURN r.key AS name ORDER BY name')).map(({ name }) => name);

it('writes what the ordinary statements write, of every type', async () => {
  const related = [relation(g, 's', at(2), ['b', 'a'], 'back'), relation(g, 'r', at(3), ['a', 'a'])];
  const linked = [
    link(g, ['a', 1n, 'observed'], at(4)),
    link(g, ['a', 1n, 'sighted'], at(4)),
    link(g, ['b', 1n, 'seen'], at(4)),
  ];
  async function written(lanes: typeof ordinary): Promise<string[]> {
    await entities('a', 'b');
    await (await ordinary('public.extract')).apply([extract(1n, at(1))]);
    expect(await (await lanes()).apply(related)).toEqual({ applied: 2, refused: 0, purged: [] });
    expect(await (await lanes('public.entity_extract')).apply(linked)).toMatchObject({ applied: 3 });
    return graph();
  }
  const expected = await written(ordinary);
  expect(expected).toHaveLength(5 + 1);
  await g.clear();
  expect(await written(filling)).toEqual(expected);
});

it('is one transaction if both ends are there and nothing else is, and two otherwise', async () => {
  let transactions = 0;
  const counting: Graph = {
    ...g.graph,
    transaction(work, options) {
      transactions += 1;
      return g.graph.transaction(work, options);
    },
  };
  await entities('a', 'b');
  const lane = await g.lane('public.relation', 2, counting, true);
  const took = async (...mutations: readonly KeyedMutation[]) => {
    const before = transactions;
    await lane.apply(mutations);
    return transactions - before;
  };
  expect(await took(relation(g, 'r', at(2), ['a', 'b']), relation(g, 's', at(2), ['b', 'a']))).toBe(1);
  expect(await took(relation(g, 't', at(3), ['a', 'b']), relation(g, 'r', at(3), ['a', 'b']))).toBe(2);
  expect(await took(relation(g, 'u', at(4), ['a', 'b']), relation(g, 'v', at(4), ['a', 'c']))).toBe(2);
  expect(await took(relationDelete(g, 'r', at(5)))).toBe(1);
});

describe('does what the ordinary statements do', () => {
  it('with an end that is missing', async () => {
    await entities('a');
    const lane = await filling();
    const batch = [relation(g, 'r', at(2), ['a', 'a']), relation(g, 's', at(2), ['a', 'x'])];
    expect(await lane.apply(batch)).toEqual({ applied: 2, refused: 0, purged: [] });
    expect(await ends()).toEqual(['(x)', 'a (x)', 'a a']);
  });

  it('with one that is there, older, newer, or between other ends', async () => {
    await entities('a', 'b');
    await (
      await ordinary()
    ).apply([
      relation(g, 'older', at(2), ['a', 'b'], 'old'),
      relation(g, 'newer', at(9), ['a', 'b'], 'new'),
      relation(g, 'moved', at(2), ['b', 'b'], 'was elsewhere'),
    ]);
    const lane = await filling();
    const batch = ['older', 'newer', 'moved'].map((key) =>
      relation(g, key, at(5), ['a', 'b'], `${key} at 5`),
    );
    expect(await lane.apply(batch)).toEqual({ applied: 2, refused: 1, purged: [] });
    expect(await names()).toEqual(['moved at 5', 'new', 'older at 5']);
    expect((await graph()).filter((line) => line.startsWith('a -'))).toHaveLength(3);
  });

  it('with a tombstone', async () => {
    await entities('a');
    await (await ordinary()).apply([relationDelete(g, 'gone', at(9)), relationDelete(g, 'back', at(2))]);
    const lane = await filling();
    const batch = ['gone', 'back'].map((key) => relation(g, key, at(5), ['a', 'a'], key));
    expect(await lane.apply(batch)).toEqual({ applied: 1, refused: 1, purged: [] });
    expect(await names()).toEqual(['back']);
  });

  it('below a floor', async () => {
    await entities('a');
    await (await ordinary()).truncate(at(5));
    const lane = await filling();
    const batch = [relation(g, 'r', at(4), ['a', 'a'], 'r'), relation(g, 's', at(6), ['a', 'a'], 's')];
    expect(await lane.apply(batch)).toEqual({ applied: 1, refused: 1, purged: [] });
    expect(await names()).toEqual(['s']);
  });

  it('below what is purged', async () => {
    await entities('a');
    await (await ordinary()).apply([relationDelete(g, 'gone', at(5))]);
    expect(await purgeAll(g)).toBe(1);
    const lane = await filling();
    const batch = [relation(g, 'gone', at(4), ['a', 'a'], 'gone'), relation(g, 's', at(6), ['a', 'a'], 's')];
    expect(await lane.apply(batch)).toEqual({ applied: 1, refused: 0, purged: ['gone'] });
    expect(await names()).toEqual(['s']);
  });
});

describe('beside another transaction', () => {
  it('that purges the tombstone of one before it is looked for: that one is asked for again', async () => {
    await entities('a');
    await (await ordinary()).apply([relationDelete(g, 'gone', at(3))]);
    const lane = await filling();
    const held = await hold(g, `MATCH (a:Entity {id: 'a'}) CREATE (a)-[:RELATED {id: 'r'}]->(a)`);
    const batch = [relation(g, 'r', at(5), ['a', 'a']), relation(g, 'gone', at(2), ['a', 'a'])];
    const written = persist(() => lane.apply(batch));
    await blocked(g, 'RELATED');
    expect(await purgeAll(g)).toBe(1);
    await held.release('rollback');
    expect(await written).toEqual({ applied: 1, refused: 0, purged: ['gone'] });
  });

  it('that deletes it and commits first: it stays deleted', async () => {
    await entities('a');
    const [deleting, lane] = [await ordinary(), await filling()];
    const { holding, reached, release } = heldBatch();
    const deleted = deleting.apply([relationDelete(g, 'r', at(5))], holding);
    await reached;
    const written = persist(() => lane.apply([relation(g, 'r', at(3), ['a', 'a'])]));
    await blocked(g, 'RELATED');
    release();
    await deleted;
    expect(await written).toMatchObject({ applied: 0, refused: 1 });
    expect(await ends()).toEqual(['a']);
  });

  it('that deletes it and commits last: it is deleted', async () => {
    await entities('a');
    const [deleting, lane] = [await ordinary(), await filling()];
    const { holding, reached, release } = heldBatch();
    const written = lane.apply([relation(g, 'r', at(3), ['a', 'a'])], holding);
    await reached;
    const deleted = persist(() => deleting.apply([relationDelete(g, 'r', at(5))]));
    await blocked(g, 'RELATED');
    release();
    await Promise.all([written, deleted]);
    expect(await ends()).toEqual(['a']);
  });

  it('that deletes an end and commits first: the end is a stub', async () => {
    await entities('a', 'b');
    const [deleting, lane] = [await ordinary('public.entity'), await filling()];
    const { holding, reached, release } = heldBatch();
    const deleted = deleting.apply([nodeDelete('b', at(5))], holding);
    await reached;
    const written = persist(() => lane.apply([relation(g, 'r', at(3), ['a', 'b'])]));
    await blocked(g, 'RELATED');
    release();
    await Promise.all([written, deleted]);
    expect(await ends()).toEqual(['(b)', 'a (b)']);
  });

  it('that deletes an end and commits last: the end is a stub', async () => {
    await entities('a', 'b');
    const [deleting, lane] = [await ordinary('public.entity'), await filling()];
    const { holding, reached, release } = heldBatch();
    const written = lane.apply([relation(g, 'r', at(3), ['a', 'b'])], holding);
    await reached;
    const deleted = persist(() => deleting.apply([nodeDelete('b', at(5))]));
    await blocked(g, 'Entity');
    release();
    await Promise.all([written, deleted]);
    expect(await ends()).toEqual(['(b)', 'a (b)']);
  });

  it.each([
    [3, 5],
    [5, 3],
  ])('that writes it, at %i and at %i: the newer one stands', async (first, second) => {
    await entities('a');
    const [other, lane] = [await ordinary(), await filling()];
    const { holding, reached, release } = heldBatch();
    const one = other.apply([relation(g, 'r', at(first), ['a', 'a'], `at ${first}`)], holding);
    await reached;
    const two = persist(() => lane.apply([relation(g, 'r', at(second), ['a', 'a'], `at ${second}`)]));
    await blocked(g, 'RELATED');
    release();
    await Promise.all([one, two]);
    expect(await names()).toEqual(['at 5']);
  });
});
