/** Beside the stream: what a replay's progress is, and what a rehearsal sees while others write. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readProgress } from '../../src/neo4j/progress.ts';
import { createRehearsal } from '../../src/neo4j/rehearsal.ts';
import { beginReplay, endReplay, readReplay } from '../../src/neo4j/replay-progress.ts';
import { createWriter } from '../../src/neo4j/writer.ts';
import { blocked, deliver, heldBatch, hold } from '../support/lanes.ts';
import {
  at,
  createTestGraph,
  entity,
  GENERATION,
  link,
  linkDelete,
  nodeDelete,
  type TestGraph,
} from '../support/test-graph.ts';

let g: TestGraph;
beforeAll(async () => {
  g = await createTestGraph('beside');
});
beforeEach(() => g.clear());
afterAll(() => g.dispose());

const STEP = { partition: 0, from: 0n, next: 1n, position: at(1), epoch: 1, session: 1, committedMs: null };

describe('a rehearsal', () => {
  async function rehearse(mutations: Parameters<typeof deliver>[1], table = 'public.entity') {
    const effects: unknown[] = [];
    const writer = createRehearsal(g.graph, g.mapping, (_, effect) => effects.push(effect));
    const { topic } = g.table(table);
    const result = await writer.apply({ ...STEP, topic, mutations });
    return { ...result, effects };
  }

  it('sees what would change, what is there already and what is older, and writes nothing', async () => {
    await deliver(g, [
      entity('same', at(5)),
      entity('other', at(5)),
      entity('newer', at(9)),
      entity('gone', at(5)),
    ]);
    await g.cypher(`MATCH (n:Entity {id: 'other'}) SET n.title = 'damaged'`);
    const mutations = ['same', 'other', 'newer', 'missing'].map((key) => entity(key, at(5)));
    const deletes = [nodeDelete('gone', at(6)), nodeDelete('never', at(6))];
    expect(await rehearse([...mutations, ...deletes])).toEqual({
      applied: 5,
      refused: 1,
      purged: [],
      effects: [{ changed: 2, removed: 1 }],
    });
    const left = await g.cypher(`MATCH (n:Entity) RETURN n.id AS id, n.title AS title ORDER BY id`);
    expect(left.map(({ id, title }) => [id, title])).toEqual([
      ['gone', 'a title'],
      ['newer', 'a title'],
      ['other', 'damaged'],
      ['same', 'a title'],
    ]);
  });

  it('counts links that would go over to another type, once each', async () => {
    const of = (n: bigint, position = at(2)) => link(g, ['a', n, 'observed'], position);
    const earlier = (n: bigint, position = at(2)) => ({ ...of(n, position), type: g.nameOf('LINKED') });
    await deliver(g, [
      earlier(1n),
      of(2n),
      earlier(3n, at(1)),
      of(3n),
      earlier(4n, at(9)),
      earlier(5n),
      of(6n),
    ]);
    const gone = linkDelete(g, ['a', 5n, 'observed'], at(3));
    expect(
      await rehearse(
        [1n, 2n, 3n, 4n].map((n) => of(n)),
        'public.entity_extract',
      ),
    ).toMatchObject({
      applied: 3,
      refused: 1,
      effects: [{ changed: 2, removed: 0 }],
    });
    expect(await rehearse([gone, of(6n)], 'public.entity_extract')).toMatchObject({
      effects: [{ changed: 0, removed: 1 }],
    });
    expect(await g.cypher('MATCH ()-[r:LINKED]->() RETURN count(*) AS count')).toEqual([{ count: 4n }]);
  });

  it('does not count what the stream writes in between', async () => {
    await deliver(g, [entity('edited', at(5))]);
    const stream = await hold(g, `MATCH (n:Entity {id: 'edited'}) SET n.title = 'newer', n._position = $at`, {
      at: at(7),
    });
    const rehearsed = rehearse([entity('edited', at(5))]);
    await blocked(g, 'Entity');
    await stream.release();
    expect(await rehearsed).toMatchObject({ applied: 0, refused: 1, effects: [{ changed: 0, removed: 0 }] });
  });
});

describe("a replay's progress", () => {
  const stretches = () =>
    [0, 1].map((partition) => ({
      topic: g.table('public.entity').topic,
      partition,
      start: 3n,
      end: 9n,
      generation: GENERATION,
    }));
  const begin = (owner: string, id = 'this', restart = false) =>
    beginReplay(g.graph, g.mapping, { owner, id, what: 'it', restart }, stretches());

  it("is none of the stream's, and gone when it ends", async () => {
    const before = await readProgress(g.graph, g.mapping);
    const owner = randomUUID();
    await begin(owner);
    const writer = createWriter(g.graph, g.mapping, { owner, scope: 'replay' });
    const { topic } = g.table('public.entity');
    await writer.apply({ ...STEP, topic, from: 3n, next: 5n, mutations: [entity('a', at(1))] });
    expect((await readReplay(g.graph, g.mapping)).map(({ next }) => next).sort()).toEqual([3n, 5n]);
    expect(await readProgress(g.graph, g.mapping)).toEqual(before);
    await endReplay(g.graph, g.mapping, owner);
    expect(await readReplay(g.graph, g.mapping)).toEqual([]);
    expect(await readProgress(g.graph, g.mapping)).toEqual(before);
  });

  it('goes on with the same request, fences its former owner off, and refuses another request', async () => {
    const [first, second] = [randomUUID(), randomUUID()];
    expect((await begin(first)).resumed).toBe(false);
    const former = createWriter(g.graph, g.mapping, { owner: first, scope: 'replay' });
    const { topic } = g.table('public.entity');
    await former.apply({ ...STEP, topic, from: 3n, next: 5n, mutations: [] });
    const { resumed, progress } = await begin(second);
    expect(resumed).toBe(true);
    expect(progress.map(({ start, next, end }) => [start, next, end]).sort()).toEqual([
      [3n, 3n, 9n],
      [3n, 5n, 9n],
    ]);
    await expect(former.apply({ ...STEP, topic, from: 5n, next: 6n, mutations: [] })).rejects.toMatchObject({
      code: 'PROGRESS_LOST',
    });
    await expect(begin(randomUUID(), 'another')).rejects.toMatchObject({ code: 'REPLAY_UNFINISHED' });
    const rows = await readReplay(g.graph, g.mapping);
    expect(new Set(rows.map(({ owner }) => owner))).toEqual(new Set([second]));

    const third = randomUUID();
    const again = await begin(third, 'another', true);
    expect(again.resumed).toBe(false);
    expect(again.progress.map(({ next }) => next)).toEqual([3n, 3n]);
    await endReplay(g.graph, g.mapping, second);
    expect(await readReplay(g.graph, g.mapping)).toHaveLength(2);
    await endReplay(g.graph, g.mapping, third);
  });

  it('is waited for by a truncate of the stream, which then finds what it wrote', async () => {
    const owner = randomUUID();
    await begin(owner);
    const writer = createWriter(g.graph, g.mapping, { owner, scope: 'replay' });
    const { topic } = g.table('public.entity');
    const held = heldBatch();
    const batch = { ...STEP, topic, from: 3n, next: 5n, mutations: [entity('a', at(1))] };
    const replayed = writer.apply(batch, held.holding);
    await held.reached;
    const truncated = (await g.lane('public.entity')).truncate(at(5));
    await blocked(g, '_Floor');
    held.release();
    expect(await replayed).toMatchObject({ applied: 1 });
    await truncated;
    expect(await g.cypher('MATCH (n:Entity) RETURN n.id')).toEqual([]);
    expect(await writer.apply({ ...batch, from: 5n, next: 6n })).toMatchObject({ applied: 0, refused: 1 });
    await endReplay(g.graph, g.mapping, owner);
  });

  it('begins once, however many begin it at the same time', async () => {
    const { namespace } = g.mapping.sink;
    await g.cypher('MERGE (g:_Graph {id: $namespace}) SET g.namespace = $namespace', { namespace });
    for (let round = 0; round < 5; round++) {
      const owners = [0, 1, 2, 3].map(() => randomUUID());
      const begun = await Promise.all(owners.map((owner) => begin(owner)));
      expect(begun.filter(({ resumed }) => !resumed)).toHaveLength(1);
      const rows = await readReplay(g.graph, g.mapping);
      expect(rows).toHaveLength(2);
      for (const owner of owners) await endReplay(g.graph, g.mapping, owner);
    }
  });
});
