/**
 * Two writers at once (reliability 6, 11, 11c). Where an interleaving can be forced, it is: a transaction of the test's
 * own holds what the writer waits for. Where it cannot, a hundred races are run.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { KeyedMutation } from '../../src/core/graph.ts';
import { connectNeo4j, verify } from '../../src/neo4j/client.ts';
import { progressId, takeOver } from '../../src/neo4j/progress.ts';
import { createWriter } from '../../src/neo4j/writer.ts';
import { type BoltProxy, createBoltProxy } from '../support/bolt-proxy.ts';
import { blocked, deliver, heldBatch, hold, persist, purgeAll } from '../support/lanes.ts';
import {
  at,
  createTestGraph,
  entity,
  GENERATION,
  type Lane,
  link,
  linkDelete,
  neo4jOptions,
  nodeDelete,
  quiet,
  relation,
  relationDelete,
  type TestGraph,
} from '../support/test-graph.ts';
import { createProxy } from '../support/tcp-proxy.ts';

let g: TestGraph;
beforeAll(async () => {
  g = await createTestGraph('races');
});
beforeEach(() => g.clear());
afterAll(() => g.dispose());

async function one(query: string, parameters?: object): Promise<unknown> {
  const [row] = await g.cypher(query, parameters);
  return row === undefined ? undefined : Object.values(row)[0];
}

const ROUNDS = 5;
const KEYS = Array.from({ length: 20 }, (_, i) => `k${i}`);

/** Both at once, until each is through. Each side has a lane of its own. */
async function race(
  lanes: readonly [Lane, Lane],
  sides: readonly [readonly KeyedMutation[], readonly KeyedMutation[]],
): Promise<void> {
  await Promise.all(sides.map((mutations, i) => persist(() => (lanes[i] as Lane).apply(mutations))));
}

const lanesOf = async (table: string): Promise<[Lane, Lane]> => [
  await g.lane(table, 0),
  await g.lane(table, 1),
];

describe('an older and a newer write of one node', () => {
  it('leave the newer one, 100 times of 100', async () => {
    const lanes = await lanesOf('public.entity');
    let stale = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await g.clear();
      if (round % 2 === 1)
        await deliver(
          g,
          KEYS.map((key) => entity(key, at(1))),
        );
      const sides = [
        KEYS.map((key) => entity(key, at(2), { title: 'older' })),
        KEYS.map((key) => entity(key, at(3), { title: 'newer' })),
      ] as const;
      await race(lanes, round % 4 < 2 ? sides : [sides[1], sides[0]]);
      stale += Number(await one(`MATCH (n:Entity) WHERE n.title <> 'newer' RETURN count(*)`));
    }
    expect(stale).toBe(0);
  });

  it('of which one is a delete leave the newer one, 100 times of 100', async () => {
    const lanes = await lanesOf('public.entity');
    let wrong = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await g.clear();
      if (round % 2 === 1)
        await deliver(
          g,
          KEYS.map((key) => entity(key, at(1))),
        );
      const deleteWins = (i: number) => (i + round) % 2 === 0;
      await race(lanes, [
        KEYS.map((key, i) => nodeDelete(key, at(deleteWins(i) ? 3 : 2))),
        KEYS.map((key, i) => entity(key, at(deleteWins(i) ? 2 : 3))),
      ]);
      const found = await g.cypher('MATCH (n:Entity) RETURN n.id AS key ORDER BY key');
      const expected = KEYS.filter((_, i) => !deleteWins(i)).sort();
      wrong += KEYS.filter(
        (key) => expected.includes(key) !== found.some((row) => row['key'] === key),
      ).length;
    }
    expect(wrong).toBe(0);
  });

  it('of which the newer one holds the lock: the older one compares what it commits', async () => {
    await deliver(g, [entity('a', at(1))]);
    const lane = await g.lane('public.entity');
    const held = await hold(g, `MATCH (n:Entity {id: 'a'}) SET n._position = $at`, { at: at(9) });
    const older = lane.apply([entity('a', at(5))]);
    await blocked(g, 'Entity');
    await held.release();
    expect(await older).toMatchObject({ applied: 0, refused: 1 });
  });

  it('of which a delete holds the lock: the upsert is never swallowed', async () => {
    await deliver(g, [entity('a', at(1), { typeLabel: null })]);
    const lane = await g.lane('public.entity');
    const held = await hold(g, `MATCH (n:Entity {id: 'a'}) REMOVE n._lock DELETE n`);
    const newer = lane.apply([entity('a', at(5), { typeLabel: null })]);
    await blocked(g, 'Entity');
    // Expected before it can happen: a rejection that nobody waits for yet ends the run.
    const rejected = expect(newer).rejects.toMatchObject({ code: 'NEO4J_TRANSIENT' });
    await held.release();
    await rejected;
    expect(await lane.apply([entity('a', at(5), { typeLabel: null })])).toMatchObject({ applied: 1 });
    expect(await one('MATCH (n:Entity) RETURN n._position')).toBe(at(5));
  });

  it('of which a sweep holds the lock: the delete leaves its tombstone', async () => {
    await g.cypher(`CREATE (:Entity:Stub {id: 'a'})`);
    const lane = await g.lane('public.entity');
    const held = await hold(g, `MATCH (n:Entity {id: 'a'}) REMOVE n._lock DELETE n`);
    const deleted = lane.apply([nodeDelete('a', at(5))]);
    await blocked(g, 'Entity');
    const rejected = expect(deleted).rejects.toMatchObject({ code: 'NEO4J_TRANSIENT' });
    await held.release();
    await rejected;
    await lane.apply([nodeDelete('a', at(5))]);
    expect(await lane.apply([entity('a', at(4))])).toMatchObject({ refused: 1 });
  });
});

describe('an older and a newer write of one relationship', () => {
  const rel = (key: string, n: number, name: string) =>
    relation(g, key, at(n), [`${name}1`, `${name}2`], name);

  it('leave the newer one, 100 times of 100', async () => {
    const lanes = await lanesOf('public.relation');
    let stale = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await g.clear();
      if (round % 2 === 1)
        await deliver(
          g,
          KEYS.map((key) => rel(key, 1, 'first')),
        );
      const sides = [
        KEYS.map((key) => rel(key, 2, 'older')),
        KEYS.map((key) => rel(key, 3, 'newer')),
      ] as const;
      await race(lanes, round % 4 < 2 ? sides : [sides[1], sides[0]]);
      expect(await one('MATCH ()-[r:RELATED]->() RETURN count(*)')).toBe(BigInt(KEYS.length));
      expect(await one('MATCH (n:Entity) RETURN count(*)')).toBe(2n);
      stale += Number(
        await one(`MATCH ()-[r:RELATED]->(b) WHERE r.key <> 'newer' OR b.id <> 'newer2' RETURN count(*)`),
      );
    }
    expect(stale).toBe(0);
  });

  it('of which one is a delete leave the newer one, 100 times of 100', async () => {
    const lanes = await lanesOf('public.relation');
    let wrong = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await g.clear();
      if (round % 2 === 1)
        await deliver(
          g,
          KEYS.map((key) => rel(key, 1, 'first')),
        );
      const deleteWins = (i: number) => (i + round) % 2 === 0;
      await race(lanes, [
        KEYS.map((key, i) => relationDelete(g, key, at(deleteWins(i) ? 3 : 2))),
        KEYS.map((key, i) => rel(key, deleteWins(i) ? 2 : 3, key)),
      ]);
      const found = await g.cypher('MATCH (a)-[r:RELATED]->(b) RETURN r.id AS key');
      const expected = KEYS.filter((_, i) => !deleteWins(i));
      wrong += KEYS.filter(
        (key) => expected.includes(key) !== found.some((row) => row['key'] === key),
      ).length;
      wrong += Number(await one('MATCH (n:Entity) WHERE NOT EXISTS { (n)--() } RETURN count(*)'));
    }
    expect(wrong).toBe(0);
  });

  it('that is not there: its key is locked by looking for it', async () => {
    const [lane, other] = await lanesOf('public.relation');
    let looked = (): void => undefined;
    const looking = new Promise<void>((resolve) => (looked = resolve));
    let go = (): void => undefined;
    const going = new Promise<void>((resolve) => (go = resolve));
    const deleted = lane.apply([relationDelete(g, 'r', at(5))], () => {
      looked();
      return going;
    });
    await looking;
    const older = other.apply([rel('r', 4, 'older')]);
    await blocked(g, 'RELATED');
    go();
    await deleted;
    expect(await older).toMatchObject({ refused: 1 });
    expect(await one('MATCH (n:Entity) RETURN count(*)')).toBe(0n);
  });

  it('of which the newer one holds the lock: the older one compares what it commits', async () => {
    await deliver(g, [rel('r', 1, 'first')]);
    const lane = await g.lane('public.relation');
    const held = await hold(g, `MATCH ()-[r:RELATED {id: 'r'}]->() SET r._position = $at`, { at: at(9) });
    const older = lane.apply([rel('r', 5, 'older')]);
    await blocked(g, 'RELATED');
    await held.release();
    expect(await older).toMatchObject({ refused: 1 });
  });

  it.each([
    ['an upsert', (key: string) => rel(key, 5, 'newer')],
    ['a delete', (key: string) => relationDelete(g, key, at(5))],
  ])('of which a delete holds the lock: %s is never swallowed', async (_name, mutation) => {
    await deliver(g, [rel('r', 1, 'first')]);
    const lane = await g.lane('public.relation');
    const held = await hold(g, `MATCH ()-[r:RELATED {id: 'r'}]->() REMOVE r._lock DELETE r`);
    const newer = lane.apply([mutation('r')]);
    await blocked(g, 'RELATED');
    const rejected = expect(newer).rejects.toMatchObject({ code: 'NEO4J_TRANSIENT' });
    await held.release();
    await rejected;
    expect(await lane.apply([mutation('r')])).toMatchObject({ applied: 1 });
  });
});

describe('a link that an earlier mapping gave another type', () => {
  const ends = (key: string) => [key, 1n, 'observed'] as const;
  const earlier = (key: string) => ({ ...link(g, ends(key), at(1)), type: g.nameOf('LINKED'), to: 2n });
  const changed = (key: string) => link(g, ends(key), at(3));
  const repaired = (key: string) => ({ ...link(g, ends(key), at(2)), thorough: true });
  const gone = (key: string) => linkDelete(g, ends(key), at(3));
  const found = async (type: string) =>
    (await g.cypher(`MATCH (a)-[r:${type}]->() RETURN a.id + ' ' + r._position AS one`)).map(
      ({ one }) => one,
    );

  it('is left once, as the newest write has it, whatever repairs, changes and deletes meet on it', async () => {
    const lanes = await lanesOf('public.entity_extract');
    for (let round = 0; round < ROUNDS; round++) {
      await g.clear();
      await lanes[0].apply(KEYS.map(earlier));
      const deleted = (i: number) => (i + round) % 2 === 0;
      const newer = KEYS.map((key, i) => (deleted(i) ? gone(key) : changed(key)));
      await race(lanes, [KEYS.map(repaired), newer]);
      // A change alone leaves what stands under another type to the next repair.
      await persist(() => lanes[0].apply(newer.map((m) => ('thorough' in m ? { ...m, thorough: true } : m))));
      expect(await found('LINKED')).toEqual([]);
      const left = KEYS.filter((_, i) => !deleted(i)).map((key) => `${key} ${at(3)}`);
      expect((await found('OBSERVED')).sort()).toEqual(left.sort());
      expect(await one('MATCH (n:Extract) RETURN count(*)')).toBe(1n);
    }
  });

  it('has its key locked under every type by a repair, found there or not', async () => {
    const [lane, other] = await lanesOf('public.entity_extract');
    const batch = heldBatch();
    const first = lane.apply([repaired('a')], batch.holding);
    await batch.reached;
    const late = other.apply([earlier('a')]);
    await blocked(g, 'LINKED');
    batch.release();
    await first;
    await late;
    expect(await found('OBSERVED')).toEqual([`a ${at(2)}`]);
    await lane.apply([repaired('a')]);
    expect(await found('LINKED')).toEqual([]);
  });

  it.each([
    ['an upsert', (key: string): KeyedMutation => ({ ...repaired(key), position: at(5) })],
    ['a delete', (key: string): KeyedMutation => ({ ...gone(key), position: at(5) })],
  ])('that is deleted meanwhile: %s is never swallowed', async (_name, mutation) => {
    await deliver(g, [earlier('a')]);
    const lane = await g.lane('public.entity_extract');
    const held = await hold(g, `MATCH (a)-[r:LINKED]->() WHERE a.id = 'a' REMOVE r._lock DELETE r`);
    const newer = lane.apply([mutation('a')]);
    await blocked(g, 'LINKED');
    const rejected = expect(newer).rejects.toMatchObject({ code: 'NEO4J_TRANSIENT' });
    await held.release();
    await rejected;
    expect(await lane.apply([mutation('a')])).toMatchObject({ applied: 1 });
  });

  it('that grows newer meanwhile: the older repair compares what is committed', async () => {
    await deliver(g, [earlier('a')]);
    const lane = await g.lane('public.entity_extract');
    const held = await hold(g, `MATCH (a)-[r:LINKED]->() WHERE a.id = 'a' SET r._position = $at`, {
      at: at(9),
    });
    const older = lane.apply([repaired('a')]);
    await blocked(g, 'LINKED');
    await held.release();
    expect(await older).toMatchObject({ applied: 0, refused: 1 });
  });
});

describe('a stub', () => {
  it('whose last two relationships go at once goes too, 20 times of 20', async () => {
    const lanes = await lanesOf('public.relation');
    await deliver(
      g,
      KEYS.flatMap((key) => [
        relation(g, `${key}-0`, at(1), [key, `${key}a`]),
        relation(g, `${key}-1`, at(1), [`${key}b`, key]),
      ]),
    );
    await race(lanes, [
      KEYS.map((key) => relationDelete(g, `${key}-0`, at(2))),
      KEYS.map((key) => relationDelete(g, `${key}-1`, at(2))),
    ]);
    expect(await one('MATCH (n:Entity) RETURN count(*)')).toBe(0n);
  });

  it('is not left where a node and its last relationship are deleted at once', async () => {
    await deliver(g, [entity('a', at(1)), relation(g, 'r', at(1), ['a', 'b'])]);
    const [nodes, relations] = [await g.lane('public.entity'), await g.lane('public.relation')];
    const held = await hold(g, `MATCH (n:Entity {id: 'a'}) REMOVE n._lock`);
    const both = [
      persist(() => relations.apply([relationDelete(g, 'r', at(2))])),
      persist(() => nodes.apply([nodeDelete('a', at(3))])),
    ];
    await blocked(g, 'Entity');
    await held.release();
    await Promise.all(both);
    expect(await one('MATCH (n:Entity) RETURN count(*)')).toBe(0n);
  });

  it('comes back if it is swept while a relationship is being created on it', async () => {
    await g.cypher(`CREATE (:Entity:Stub {id: 'a'}), (:Entity:Stub {id: 'b'})`);
    const lane = await g.lane('public.relation');
    const held = await hold(g, `MATCH (n:Entity {id: 'a'}) REMOVE n._lock DELETE n`);
    const created = persist(() => lane.apply([relation(g, 'r', at(1), ['a', 'b'])]));
    await blocked(g, 'Entity');
    await held.release();
    await created;
    expect(await one('MATCH (:Stub {id: "a"})-[r:RELATED]->(:Stub {id: "b"}) RETURN count(*)')).toBe(1n);
  });

  it('survives rows, links and deletes that meet on it', async () => {
    const lanes = await Promise.all([
      g.lane('public.entity', 0),
      g.lane('public.entity', 1),
      g.lane('public.entity_extract', 0),
      g.lane('public.entity_extract', 1),
    ]);
    const batches: readonly (readonly KeyedMutation[])[] = [
      KEYS.map((key) => entity(key, at(2))),
      KEYS.map((key) => nodeDelete(key, at(3))),
      KEYS.map((key) => link(g, [key, 1n, 'observed'], at(2))),
      KEYS.map((key) => link(g, [key, 2n, 'sighted'], at(2))),
    ];
    await Promise.all(batches.map((batch, i) => persist(() => (lanes[i] as Lane).apply(batch))));
    expect(
      await g.cypher(
        'MATCH (n:Entity:Stub)-[:OBSERVED|SIGHTED]->(:Extract:Stub) RETURN count(DISTINCT n) AS stubs, count(*) AS links',
      ),
    ).toEqual([{ stubs: 20n, links: 40n }]);
  });
});

describe('a purge while a batch looks for tombstones', () => {
  it('brings no node back: the batch tries again, and asks', async () => {
    await deliver(g, [entity('a', at(1)), nodeDelete('b', at(3))]);
    const lane = await g.lane('public.entity');
    const held = await hold(g, `MATCH (n:Entity {id: 'a'}) REMOVE n._lock`);
    const batch = [entity('a', at(5)), entity('b', at(2))];
    const first = lane.apply(batch);
    await blocked(g, 'Entity');
    expect(await purgeAll(g)).toBe(1);
    const rejected = expect(first).rejects.toMatchObject({ code: 'NEO4J_TRANSIENT' });
    await held.release();
    await rejected;
    expect(await lane.apply(batch)).toEqual({ applied: 1, refused: 0, purged: ['b'] });
  });

  it('brings no relationship back', async () => {
    await deliver(g, [relation(g, 'a', at(1), ['x', 'y']), relationDelete(g, 'b', at(3))]);
    const lane = await g.lane('public.relation');
    const held = await hold(g, `MATCH ()-[r:RELATED {id: 'a'}]->() REMOVE r._lock`);
    const batch = [relation(g, 'a', at(5), ['x', 'y']), relation(g, 'b', at(2), ['x', 'y'])];
    const first = lane.apply(batch);
    await blocked(g, 'RELATED');
    expect(await purgeAll(g)).toBe(1);
    const rejected = expect(first).rejects.toMatchObject({ code: 'NEO4J_TRANSIENT' });
    await held.release();
    await rejected;
    expect(await lane.apply(batch)).toEqual({ applied: 1, refused: 0, purged: ['b'] });
  });
});

describe('a truncate', () => {
  it('spares what is written while it waits', async () => {
    await deliver(g, [entity('a', at(1))]);
    const lane = await g.lane('public.entity');
    const held = await hold(g, `MATCH (n:Entity {id: 'a'}) SET n._position = $at`, { at: at(9) });
    const truncated = lane.truncate(at(5));
    await blocked(g, 'Entity');
    await held.release();
    await truncated;
    expect(await one('MATCH (n:Entity) RETURN n._position')).toBe(at(9));
  });

  it('of relationships spares what is written while it waits', async () => {
    await deliver(g, [relation(g, 'r', at(1), ['a', 'b'])]);
    const lane = await g.lane('public.relation');
    const held = await hold(g, `MATCH ()-[r:RELATED {id: 'r'}]->() SET r._position = $at`, { at: at(9) });
    const truncated = lane.truncate(at(5));
    await blocked(g, 'RELATED');
    await held.release();
    await truncated;
    expect(await one('MATCH ()-[r:RELATED]->() RETURN r._position')).toBe(at(9));
  });
});

describe('the fence of a partition', () => {
  it('refuses a former owner, 100 times of 100, whatever it brings', async () => {
    let stale = 0;
    for (let i = 0; i < 100; i++) {
      const former = await g.lane('public.entity');
      const owner = await g.lane('public.entity');
      const [late] = await Promise.allSettled([former.apply([entity(`late${i}`, at(9))]), owner.apply([])]);
      if (late.status === 'fulfilled') stale += 1;
      else expect(late.reason).toMatchObject({ code: 'PROGRESS_LOST' });
    }
    stale += Number(await one('MATCH (n:Entity) RETURN count(*)'));
    expect(stale).toBe(0);
  });

  it('refuses a batch that does not begin where the last one ended', async () => {
    const { topic } = g.table('public.entity');
    const owner = randomUUID();
    const { next } = await takeOver(g.graph, g.mapping, {
      topic,
      partition: 0,
      owner,
      generation: GENERATION,
    });
    const writer = createWriter(g.graph, g.mapping, { owner });
    const step = { topic, partition: 0, position: at(1), epoch: 1, session: 1, committedMs: null };
    for (const from of [next + 1n, next - 1n])
      await expect(
        writer.apply({ ...step, from, next: next + 5n, mutations: [entity('a', at(1))] }),
      ).rejects.toMatchObject({ code: 'PROGRESS_LOST' });
    expect(await one('MATCH (n:Entity) RETURN count(*)')).toBe(0n);
  });

  it('lets a batch that is under way be finished before it is taken over', async () => {
    const former = await g.lane('public.entity');
    let ready = (): void => undefined;
    const isReady = new Promise<void>((resolve) => (ready = resolve));
    let go = (): void => undefined;
    const going = new Promise<void>((resolve) => (go = resolve));
    const batch = former.apply([entity('a', at(1))], () => {
      ready();
      return going;
    });
    await isReady;
    const heir = g.lane('public.entity');
    await blocked(g, 'SET p.owner');
    go();
    await batch;
    expect((await heir).next()).toBe(former.next());
  });

  it('opens when the transaction of a paused owner has timed out', async () => {
    const former = await g.lane('public.entity');
    const id = progressId(g.mapping, g.table('public.entity').topic, 0);
    const paused = g.graph.transaction(
      async (open) => {
        await open.run('MATCH (p:_Progress {id: $id}) SET p.next = p.next + 99', { id });
        const heir = await g.lane('public.entity');
        expect(heir.next()).toBe(former.next());
        // Awake again, it goes on as if nothing had happened.
      },
      { timeoutMs: 1_000 },
    );
    await expect(paused).rejects.toMatchObject({ code: 'NEO4J_TRANSIENT' });
  });

  it('stops a projector whose topic was recreated, and leaves the owner', async () => {
    const lane = await g.lane('public.entity');
    const { topic } = g.table('public.entity');
    await expect(
      takeOver(g.graph, g.mapping, { topic, partition: 0, owner: 'x', generation: 'second' }),
    ).rejects.toMatchObject({ code: 'PROGRESS_GAP' });
    expect(await lane.apply([entity('a', at(1))])).toMatchObject({ applied: 1 });
  });

  it('says that the graph is not the one it was, if its bookkeeping is gone', async () => {
    const lane = await g.lane('public.entity');
    const id = `${g.mapping.sink.namespace}|public.entity`;
    await g.cypher('MATCH (f:_Floor {id: $id}) SET f.id = $other', { id, other: `${id}|gone` });
    await expect(lane.apply([entity('a', at(1))])).rejects.toMatchObject({ code: 'PROGRESS_LOST' });
    await g.cypher('MATCH (f:_Floor {id: $other}) SET f.id = $id', { id, other: `${id}|gone` });
  });
});

describe('a commit whose answer is lost', () => {
  let proxy: BoltProxy;
  beforeAll(async () => {
    proxy = await createBoltProxy(neo4jOptions().uri);
  });
  afterEach(() => {
    proxy.cut('nothing');
  });
  afterAll(() => proxy.close());

  it.each([
    ['after the server had it', 'answer'],
    ['before the server had it', 'commit'],
  ] as const)('%s, is made once, 10 times of 10', async (_name, what) => {
    const graph = connectNeo4j({ ...neo4jOptions(), uri: proxy.url }, quiet);
    try {
      const lane = await g.lane('public.entity', 0, graph);
      let twice = 0;
      for (let i = 0; i < 10; i++) {
        const batch = [entity(`a${i}`, at(1))];
        proxy.cut(what);
        await expect(lane.apply(batch)).rejects.toMatchObject({ code: 'NEO4J_UNREACHABLE' });
        proxy.cut('nothing');
        const mark = 'MATCH (n:Entity {id: $id}) SET n.title = "seen" RETURN count(*)';
        if (what === 'answer') expect(await one(mark, { id: `a${i}` })).toBe(1n);
        const { applied } = await lane.apply(batch);
        if (applied !== (what === 'answer' ? 0 : 1)) twice += 1;
        const title = await one('MATCH (n:Entity {id: $id}) RETURN n.title', { id: `a${i}` });
        if (title !== (what === 'answer' ? 'seen' : 'a title')) twice += 1;
      }
      expect(twice).toBe(0);
    } finally {
      await graph.close();
    }
  });
});

it('what takes as long as it takes is waited for no longer than the server answers others', async () => {
  const proxy = await createProxy(neo4jOptions().uri);
  const graph = connectNeo4j({ ...neo4jOptions(), uri: proxy.url }, quiet, 500);
  await verify(graph);
  proxy.hold();
  await expect(graph.run('RETURN 1', {}, { timeoutMs: Infinity })).rejects.toMatchObject({
    code: 'NEO4J_UNREACHABLE',
    message: expect.stringMatching(/ does not answer\.$/) as string,
  });
  await graph.close();
  await proxy.close();
});
