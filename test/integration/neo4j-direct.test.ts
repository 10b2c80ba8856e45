/** Writes that are none of the stream's: compare and set, at the position that is there. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { KeyedMutation } from '../../src/core/graph.ts';
import { LOWEST_POSITION } from '../../src/core/position.ts';
import { createDirectWriter, type DirectWriter } from '../../src/neo4j/direct-writer.ts';
import { purgeTombstones } from '../../src/neo4j/purge.ts';
import { deliver, persist } from '../support/lanes.ts';
import {
  at,
  createTestGraph,
  entity,
  extract,
  link,
  linkDelete,
  nodeDelete,
  relation,
  relationDelete,
  type TestGraph,
} from '../support/test-graph.ts';

const NOWHERE = LOWEST_POSITION;

let g: TestGraph;
let direct: DirectWriter;
beforeAll(async () => {
  g = await createTestGraph('direct');
  direct = createDirectWriter(g.graph, g.mapping);
});
beforeEach(() => g.clear());
afterAll(() => g.dispose());

const send = (...mutations: readonly KeyedMutation[]) => deliver(g, mutations);
const set = async (...mutations: readonly KeyedMutation[]) => {
  const results = [];
  for (const mutation of mutations) results.push((await persist(() => direct.apply([mutation]))).applied);
  return results;
};

/** Key, position and title or key of everything, tombstones with a cross. */
async function standing(): Promise<unknown[]> {
  const rows = await g.cypher(
    `MATCH (n:Entity|Extract) RETURN toString(n.id) + CASE WHEN n:Stub THEN ' stub' ELSE '' END AS key, n._position AS position, n.title AS text
     UNION ALL MATCH ()-[r:RELATED|OBSERVED|SIGHTED|LINKED]->() RETURN coalesce(r.id, r._key) AS key, r._position AS position, r.key AS text
     UNION ALL MATCH (t:_Tombstone {namespace: $namespace}) RETURN split(t.id, '|')[2] + ' +' AS key, t.position AS position, null AS text`,
    { namespace: g.mapping.sink.namespace },
  );
  return rows.map(({ key, position, text }) => [key, position, text]).sort();
}

describe('an upsert', () => {
  it('of what stands where it was seen is applied, and leaves the position', async () => {
    await send(entity('a', at(3)), relation(g, 'r', at(4), ['a', 'a']));
    expect(
      await set(entity('a', at(3), { title: 'mended' }), relation(g, 'r', at(4), ['a', 'a'], 'mended')),
    ).toEqual([1, 1]);
    expect(await standing()).toEqual([
      ['a', at(3), 'mended'],
      ['r', at(4), 'mended'],
    ]);
  });

  it.each([
    ['later', at(2)],
    ['earlier', at(4)],
  ])('of what was seen where it is not, %s, is refused', async (_, seen) => {
    await send(entity('a', at(3)), relation(g, 'r', at(3), ['a', 'a']));
    const before = await standing();
    expect(
      await set(entity('a', seen, { title: 'wrong' }), relation(g, 'r', seen, ['a', 'a'], 'wrong')),
    ).toEqual([0, 0]);
    expect(await standing()).toEqual(before);
  });

  it('of what is not there, and never was, has no position: all that the stream brings wins', async () => {
    expect(
      await set(entity('a', NOWHERE), extract(7n, NOWHERE), link(g, ['a', 7n, 'novel'], NOWHERE)),
    ).toEqual([1, 1, 1]);
    expect(await standing()).toEqual([
      ['7', null, null],
      ['["a","7","novel"]', null, null],
      ['a', null, 'a title'],
    ]);
    await send(entity('a', at(1), { title: 'streamed' }), linkDelete(g, ['a', 7n, 'novel'], at(1)));
    expect(await standing()).toEqual([
      ['7', null, null],
      ['["a","7","novel"] +', at(1), null],
      ['a', at(1), 'streamed'],
    ]);
  });

  it('of what is not there stays, when the stream brings something too old', async () => {
    const lane = await g.lane('public.entity');
    await send(nodeDelete('z', at(5)));
    await g.cypher(`MATCH (t:_Tombstone {namespace: $namespace}) SET t.deletedAt = 0`, {
      namespace: g.mapping.sink.namespace,
    });
    await purgeTombstones(g.graph, g.mapping, AbortSignal.timeout(30_000));
    expect(await set(entity('a', NOWHERE, { title: 'mended' }))).toEqual([1]);
    expect(await lane.apply([entity('a', at(4))])).toMatchObject({ applied: 0, purged: ['a'] });
    expect(await standing()).toEqual([['a', null, 'mended']]);
  });

  it('of what was deleted takes the place of the tombstone, if that is where it was seen', async () => {
    await send(entity('a', at(1)), nodeDelete('a', at(3)), relationDelete(g, 'r', at(3)));
    const before = await standing();
    expect(
      await set(entity('a', NOWHERE), entity('a', at(2)), relation(g, 'r', NOWHERE, ['a', 'a'])),
    ).toEqual([0, 0, 0]);
    expect(await standing()).toEqual(before);
    expect(await set(entity('a', at(3)), relation(g, 'r', at(3), ['a', 'a']))).toEqual([1, 1]);
    expect(await standing()).toEqual([
      ['a', at(3), 'a title'],
      ['r', at(3), 'targets'],
    ]);
    await send(entity('a', at(2), { title: 'older' }), relation(g, 'r', at(2), ['b', 'b'], 'older'));
    expect(await standing()).toEqual([
      ['a', at(3), 'a title'],
      ['r', at(3), 'targets'],
    ]);
  });

  it('makes a stub a node', async () => {
    await send(relation(g, 'r', at(2), ['a', 'b']));
    expect(await set(entity('a', NOWHERE))).toEqual([1]);
    expect(await standing()).toEqual([
      ['a', null, 'a title'],
      ['b stub', null, null],
      ['r', at(2), 'targets'],
    ]);
  });
});

describe('a delete', () => {
  it('leaves a tombstone where the row was: nothing older brings it back, what is later does', async () => {
    await send(entity('a', at(3)), entity('b', at(3)), relation(g, 'r', at(4), ['a', 'b']));
    expect(await set(nodeDelete('a', at(3)), relationDelete(g, 'r', at(4)))).toEqual([1, 1]);
    const deleted = [
      ['a +', at(3), null],
      ['b', at(3), 'a title'],
      ['r +', at(4), null],
    ];
    expect(await standing()).toEqual(deleted);
    await send(entity('a', at(2)), relation(g, 'r', at(3), ['a', 'b']));
    expect(await standing()).toEqual(deleted);
    await send(entity('a', at(5)), relation(g, 'r', at(5), ['a', 'b']));
    expect(await standing()).toEqual([
      ['a', at(5), 'a title'],
      ['b', at(3), 'a title'],
      ['r', at(5), 'targets'],
    ]);
  });

  it('of a node with relationships leaves a stub, until they go', async () => {
    await send(entity('a', at(3)), entity('b', at(3)), relation(g, 'r', at(4), ['a', 'b']));
    await set(nodeDelete('a', at(3)));
    expect(await standing()).toContainEqual(['a stub', null, null]);
    await set(relationDelete(g, 'r', at(4)));
    expect(await standing()).toEqual([
      ['a +', at(3), null],
      ['b', at(3), 'a title'],
      ['r +', at(4), null],
    ]);
  });

  it('of what somebody else made leaves nothing', async () => {
    await g.cypher(`CREATE (a:Entity {id: 'a'})-[:RELATED {id: 'r'}]->(:Entity {id: 'b'})`);
    expect(
      await set(relationDelete(g, 'r', NOWHERE), nodeDelete('a', NOWHERE), nodeDelete('b', NOWHERE)),
    ).toEqual([1, 1, 1]);
    expect(await standing()).toEqual([]);
  });

  it('of what is gone, or stands elsewhere, does nothing', async () => {
    await send(entity('a', at(3)), relation(g, 'r', at(3), ['a', 'a']));
    const before = await standing();
    expect(
      await set(
        nodeDelete('a', at(2)),
        nodeDelete('a', at(4)),
        nodeDelete('gone', at(2)),
        nodeDelete('gone', NOWHERE),
        relationDelete(g, 'r', at(2)),
        relationDelete(g, 's', at(2)),
        relationDelete(g, 's', NOWHERE),
      ),
    ).toEqual([0, 0, 0, 0, 0, 0, 0]);
    expect(await standing()).toEqual(before);
  });
});

describe('a link that an earlier mapping gave another type', () => {
  const ends = ['a', 7n, 'observed'] as const;
  const link7 = (n: number) => link(g, ends, at(n));
  const earlier = (n: number) => ({ ...link7(n), type: g.nameOf('LINKED') });
  const positionOf = async () => (await direct.positions([link7(0)])).get(link7(0).key);
  const types = async () =>
    (
      await g.cypher(
        `MATCH ()-[r:OBSERVED|SIGHTED|LINKED]->() RETURN split(type(r), '_')[0] AS type ORDER BY type`,
      )
    ).map(({ type }) => type);

  it('stands at the newest of what bears its key, and is moved or deleted from there alone', async () => {
    await send(earlier(4));
    expect(await positionOf()).toBe(at(4));
    expect(await set(link7(3))).toEqual([0]);
    expect(await set(link7(4))).toEqual([1]);
    expect(await types()).toEqual(['OBSERVED']);
    expect(await positionOf()).toBe(at(4));

    await send(earlier(6));
    expect(await positionOf()).toBe(at(6));
    expect(await set(linkDelete(g, ends, at(4)))).toEqual([0]);
    expect(await set(linkDelete(g, ends, at(6)))).toEqual([1]);
    expect(await types()).toEqual([]);
  });

  it('stands at its tombstone, while that is newer', async () => {
    await send(linkDelete(g, ends, at(5)));
    await g.cypher(
      `CREATE (:Entity:Stub {id: 'a'})-[:LINKED {_key: $key, _position: $at}]->(:Extract:Stub {id: 7})`,
      {
        key: link7(0).key,
        at: at(2),
      },
    );
    expect(await positionOf()).toBe(at(5));
    expect(await set(linkDelete(g, ends, at(2)))).toEqual([0]);
    await g.cypher('MATCH ()-[r:LINKED]->() SET r._position = $at', { at: at(8) });
    expect(await positionOf()).toBe(at(8));
    expect(await set(link7(5))).toEqual([0]);
    expect(await set(link7(8))).toEqual([1]);
    expect(await types()).toEqual(['OBSERVED']);
  });
});

it('positions are where keys stand: at a node or relationship, else at its tombstone, else nowhere', async () => {
  await send(
    entity('a', at(3)),
    nodeDelete('b', at(4)),
    link(g, ['a', 7n, 'novel'], at(5)),
    link(g, ['a', 7n, 'sighted'], at(6)),
    linkDelete(g, ['a', 8n, 'novel'], at(7)),
  );
  await g.cypher(`MERGE (:Entity {id: 'b'}) MERGE (:Entity {id: 'c'})`);
  const nodes = await direct.positions(['a', 'b', 'c', 'd'].map((id) => nodeDelete(id, NOWHERE)));
  expect([...nodes]).toEqual([
    ['a', at(3)],
    ['b', at(4)],
    ['c', ''],
    ['d', ''],
  ]);
  const ends = [
    ['a', 7n, 'novel'],
    ['a', 7n, 'sighted'],
    ['a', 8n, 'novel'],
    ['a', 9n, 'observed'],
  ] as const;
  const links = await direct.positions(ends.map((of) => linkDelete(g, of, NOWHERE)));
  expect(links).toEqual(
    new Map(
      [at(5), at(6), at(7), ''].map((position, i) => [
        linkDelete(g, ends[i] ?? ends[0], NOWHERE).key,
        position,
      ]),
    ),
  );
});

it('whatever the stream writes at the same time wins', async () => {
  const lane = await g.lane('public.entity');
  const ids = Array.from({ length: 20 }, (_, n) => `e${n}`);
  for (const id of ids) await lane.apply([entity(id, at(1))]);
  for (const id of ids)
    await Promise.all([
      persist(() => lane.apply([entity(id, at(2), { title: 'streamed' })])),
      persist(() => direct.apply([entity(id, at(1), { title: 'mended' })])),
    ]);
  expect(await standing()).toEqual(ids.map((id) => [id, at(2), 'streamed']).sort());
});
