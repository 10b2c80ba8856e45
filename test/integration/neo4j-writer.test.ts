/** What a batch does to a graph: each rule of I7 by itself, seen through Cypher of the test's own. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { KeyedMutation } from '../../src/core/graph.ts';
import { forbidUnseen, purgeTombstones } from '../../src/neo4j/purge.ts';
import { beginReplay, endReplay } from '../../src/neo4j/replay-progress.ts';
import { createWriter } from '../../src/neo4j/writer.ts';
import { blocked, deliver, hold, purgeAll } from '../support/lanes.ts';
import {
  at,
  createTestGraph,
  entity,
  extract,
  GENERATION,
  link,
  linkDelete,
  nodeDelete,
  relation,
  relationDelete,
  type TestGraph,
} from '../support/test-graph.ts';

let g: TestGraph;
beforeAll(async () => {
  g = await createTestGraph('writer');
});
beforeEach(() => g.clear());
afterAll(() => g.dispose());

const send = (...mutations: readonly KeyedMutation[]) => deliver(g, mutations);

async function nodes(): Promise<unknown[]> {
  const rows = await g.cypher(
    `MATCH (n:Entity|Extract) WITH n, [l IN labels(n) WHERE NOT l ENDS WITH $namespace | l] AS labels ORDER BY toString(n.id)
     RETURN toString(n.id) + reduce(t = '', l IN labels | t + ':' + l) AS node`,
    { namespace: g.mapping.sink.namespace },
  );
  return rows.map((row) => row['node']);
}

async function relationships(): Promise<unknown[]> {
  const rows = await g.cypher(
    `MATCH (a)-[r:RELATED|OBSERVED|SIGHTED|LINKED]->(b)
     RETURN split(type(r), '_')[0] + ' ' + toString(a.id) + '>' + toString(b.id) AS found ORDER BY found`,
  );
  return rows.map((row) => row['found']);
}

describe('a node', () => {
  it('has exactly the properties of its row', async () => {
    await send(entity('a', at(1)));
    await g.cypher(`MATCH (n:Entity) SET n.stray = 1, n:Stray`);
    await send(entity('a', at(2), { title: null }));
    const [row] = await g.cypher(
      'MATCH (n:Entity) RETURN properties(n) AS properties, size(labels(n)) AS labels',
    );
    expect(row).toEqual({
      properties: {
        id: 'a',
        data_id: 'x-a',
        type: 'indicator',
        created_at: 1n,
        last_updated_at: 2n,
        data: '{"n": 1}',
        meta: '{}',
        _position: at(2),
      },
      labels: 3n,
    });
  });

  it.each<[string, (string | null)[], string]>([
    ['from one type to another', ['Indicator', 'Report'], 'a:Report'],
    ['from a listed type to one that is not', ['Indicator', null], 'a'],
    ['from an unlisted type to a listed one', [null, 'Ttp'], 'a:Ttp'],
    ['back again', ['Ttp', 'Report', 'Ttp'], 'a:Ttp'],
  ])('changes its label %s', async (_name, labels, expected) => {
    for (const [i, typeLabel] of labels.entries()) await send(entity('a', at(i + 1), { typeLabel }));
    expect(await nodes()).toEqual([expected]);
  });

  it.each<[string, readonly KeyedMutation[], readonly string[]]>([
    ['a newer upsert wins', [entity('a', at(1)), entity('a', at(2), { typeLabel: 'Ttp' })], ['a:Ttp']],
    [
      'an older upsert loses',
      [entity('a', at(2)), entity('a', at(1), { typeLabel: 'Ttp' })],
      ['a:Indicator'],
    ],
    [
      'an equal one is applied again',
      [entity('a', at(1)), entity('a', at(1), { typeLabel: 'Ttp' })],
      ['a:Ttp'],
    ],
    ['a newer delete wins', [entity('a', at(1)), nodeDelete('a', at(2))], []],
    ['an older delete loses', [entity('a', at(2)), nodeDelete('a', at(1))], ['a:Indicator']],
    ['a delete before its upsert still wins', [nodeDelete('a', at(2)), entity('a', at(1))], []],
    ['what is created again stays', [nodeDelete('a', at(1)), entity('a', at(2))], ['a:Indicator']],
    [
      'the highest of several deletes counts',
      [nodeDelete('a', at(3)), nodeDelete('a', at(1)), entity('a', at(2))],
      [],
    ],
    [
      'a tombstone outlives what came and went before it',
      [
        entity('a', at(1)),
        nodeDelete('a', at(4)),
        entity('a', at(2)),
        nodeDelete('a', at(3)),
        entity('a', at(3)),
      ],
      [],
    ],
    [
      'an integer key is buried under its text',
      [extract(7n, at(1)), nodeDelete(7n, at(3)), extract(7n, at(2))],
      [],
    ],
  ])('%s', async (_name, history, expected) => {
    await send(...history);
    expect(await nodes()).toEqual(expected);
  });

  it('leaves no tombstone once it is there again, and just one while it is not', async () => {
    const tombstones = async () =>
      (
        await g.cypher('MATCH (t:_Tombstone {namespace: $namespace}) RETURN t.position AS position', {
          namespace: g.mapping.sink.namespace,
        })
      ).map((t) => t['position']);
    await send(entity('a', at(1)), nodeDelete('a', at(2)), nodeDelete('a', at(4)), nodeDelete('a', at(3)));
    expect(await tombstones()).toEqual([at(4)]);
    await send(entity('a', at(5)));
    expect(await tombstones()).toEqual([]);
  });

  it('is counted once: applied, or refused', async () => {
    const lane = await g.lane('public.entity');
    expect(await lane.apply([entity('a', at(2)), entity('b', at(2)), nodeDelete('c', at(2))])).toEqual({
      applied: 3,
      refused: 0,
      purged: [],
    });
    expect(await lane.apply([entity('a', at(3)), nodeDelete('b', at(1)), entity('c', at(1))])).toEqual({
      applied: 1,
      refused: 2,
      purged: [],
    });
  });
});

describe('a relationship', () => {
  const rel = (key: string, n: number, ends: readonly [string, string]) => relation(g, key, at(n), ends);
  const gone = (key: string, n: number) => relationDelete(g, key, at(n));

  it.each<[string, () => readonly KeyedMutation[], readonly string[], readonly string[]]>([
    ['may come before its ends', () => [rel('r', 1, ['a', 'b'])], ['RELATED a>b'], ['a:Stub', 'b:Stub']],
    ['may lie on one node', () => [rel('r', 1, ['a', 'a'])], ['RELATED a>a'], ['a:Stub']],
    [
      'keeps its ends when their rows come',
      () => [rel('r', 3, ['a', 'b']), entity('a', at(1)), entity('b', at(2), { typeLabel: null })],
      ['RELATED a>b'],
      ['a:Indicator', 'b'],
    ],
    [
      'moves with its row',
      () => [rel('r', 1, ['a', 'b']), rel('r', 2, ['a', 'c'])],
      ['RELATED a>c'],
      ['a:Stub', 'c:Stub'],
    ],
    [
      'turns with its row',
      () => [rel('r', 1, ['a', 'b']), rel('r', 2, ['b', 'a'])],
      ['RELATED b>a'],
      ['a:Stub', 'b:Stub'],
    ],
    [
      'does not move back',
      () => [rel('r', 2, ['a', 'c']), rel('r', 1, ['a', 'b'])],
      ['RELATED a>c'],
      ['a:Stub', 'c:Stub'],
    ],
    ['goes, and its stubs with it', () => [rel('r', 1, ['a', 'b']), gone('r', 2)], [], []],
    [
      'leaves stubs that others need',
      () => [rel('r', 1, ['a', 'b']), rel('s', 1, ['b', 'c']), gone('r', 2)],
      ['RELATED b>c'],
      ['b:Stub', 'c:Stub'],
    ],
    [
      'leaves rows alone',
      () => [entity('a', at(1)), rel('r', 1, ['a', 'b']), gone('r', 2)],
      [],
      ['a:Indicator'],
    ],
    [
      'is not deleted by what is older',
      () => [rel('r', 2, ['a', 'b']), gone('r', 1)],
      ['RELATED a>b'],
      ['a:Stub', 'b:Stub'],
    ],
    ['deleted before it came makes no stubs', () => [gone('r', 2), rel('r', 1, ['a', 'b'])], [], []],
    [
      'may be created again',
      () => [gone('r', 1), rel('r', 2, ['a', 'b'])],
      ['RELATED a>b'],
      ['a:Stub', 'b:Stub'],
    ],
    [
      'keeps a deleted node as a stub',
      () => [entity('a', at(1)), entity('b', at(1)), rel('r', 1, ['a', 'b']), nodeDelete('a', at(2))],
      ['RELATED a>b'],
      ['a:Stub', 'b:Indicator'],
    ],
    [
      'lets the deleted node go at last',
      () => [
        entity('a', at(1)),
        entity('b', at(1)),
        rel('r', 1, ['a', 'b']),
        nodeDelete('a', at(2)),
        gone('r', 3),
      ],
      [],
      ['b:Indicator'],
    ],
    [
      'of a deleted node lets it come back, not the older row',
      () => [rel('r', 1, ['a', 'b']), nodeDelete('a', at(3)), entity('a', at(2))],
      ['RELATED a>b'],
      ['a:Stub', 'b:Stub'],
    ],
    [
      'is typed by its row',
      () => [
        link(g, ['a', 7n, 'observed'], at(1)),
        link(g, ['a', 7n, 'sighted'], at(1)),
        link(g, ['a', 7n, 'novel'], at(1)),
        linkDelete(g, ['a', 7n, 'sighted'], at(2)),
      ],
      ['LINKED a>7', 'OBSERVED a>7'],
      ['7:Stub', 'a:Stub'],
    ],
  ])('%s', async (_name, history, expected, expectedNodes) => {
    await send(...history());
    expect(await relationships()).toEqual(expected);
    expect(await nodes()).toEqual(expectedNodes);
  });

  it('has exactly the properties of its row, a stub just its key', async () => {
    await send(link(g, ['a', 7n, 'novel'], at(1)));
    expect(
      await g.cypher(
        'MATCH (a)-[r:LINKED]->(b) RETURN properties(a) AS a, properties(r) AS r, properties(b) AS b',
      ),
    ).toEqual([
      {
        a: { id: 'a' },
        r: { _key: '["a","7","novel"]', _position: at(1), last_updated_at: 1n, link_type: 'novel' },
        b: { id: 7n },
      },
    ]);
  });

  it('is counted once: applied, or refused', async () => {
    const lane = await g.lane('public.relation');
    expect(await lane.apply([rel('r', 2, ['a', 'b']), rel('s', 2, ['a', 'b']), gone('t', 2)])).toMatchObject({
      applied: 3,
      refused: 0,
    });
    expect(await lane.apply([rel('r', 3, ['b', 'a']), gone('s', 1), rel('t', 1, ['x', 'y'])])).toMatchObject({
      applied: 1,
      refused: 2,
    });
    expect(await nodes()).toEqual(['a:Stub', 'b:Stub']);
  });
});

describe('a relationship that an earlier mapping gave another type', () => {
  const ends = ['a', 7n, 'observed'] as const;
  /** As the stream brings it by that mapping. */
  const earlier = (n: number, type: 'SIGHTED' | 'LINKED' = 'LINKED', to = 8n) => ({
    ...link(g, ends, at(n)),
    to,
    type: g.nameOf(type),
    values: type === 'LINKED' ? [1n, 'observed'] : [1n],
  });
  const changed = (n: number) => link(g, ends, at(n));
  const repaired = (n: number) => ({ ...link(g, ends, at(n)), thorough: true });
  const gone = (n: number) => linkDelete(g, ends, at(n));

  it.each<[string, () => readonly KeyedMutation[], readonly string[], readonly string[]]>([
    [
      'is moved by a repair, and its ends go',
      () => [earlier(1), repaired(2)],
      ['OBSERVED a>7'],
      ['7:Stub', 'a:Stub'],
    ],
    ['is moved by what is as old', () => [earlier(2), repaired(2)], ['OBSERVED a>7'], ['7:Stub', 'a:Stub']],
    [
      'is moved from each type that it has had',
      () => [earlier(1), earlier(2, 'SIGHTED', 9n), repaired(3)],
      ['OBSERVED a>7'],
      ['7:Stub', 'a:Stub'],
    ],
    [
      'goes where a change has made the row anew',
      () => [earlier(1), changed(2), repaired(2)],
      ['OBSERVED a>7'],
      ['7:Stub', 'a:Stub'],
    ],
    [
      'goes where the row moves between nodes as well',
      () => [earlier(1), { ...changed(2), to: 9n }, repaired(3)],
      ['OBSERVED a>7'],
      ['7:Stub', 'a:Stub'],
    ],
    ['stands against what is older', () => [earlier(3), repaired(2)], ['LINKED a>8'], ['8:Stub', 'a:Stub']],
    [
      'stands against what is older, the newest of all types deciding',
      () => [earlier(4, 'SIGHTED'), earlier(1), changed(2), repaired(3)],
      ['LINKED a>8', 'OBSERVED a>7', 'SIGHTED a>8'],
      ['7:Stub', '8:Stub', 'a:Stub'],
    ],
    ['goes with its row', () => [earlier(1), gone(2)], [], []],
    [
      'goes with its row from every type',
      () => [earlier(1), earlier(2, 'SIGHTED', 9n), changed(3), gone(3)],
      [],
      [],
    ],
    ['is not deleted by what is older', () => [earlier(3), gone(2)], ['LINKED a>8'], ['8:Stub', 'a:Stub']],
    ['deleted stays away', () => [earlier(1), gone(3), repaired(2)], [], []],
  ])('%s', async (_name, history, expected, expectedNodes) => {
    await send(...history());
    expect(await relationships()).toEqual(expected);
    expect(await nodes()).toEqual(expectedNodes);
  });

  it('is not brought back by what is older than the tombstone beside it', async () => {
    await send(gone(3));
    await g.cypher(
      `CREATE (:Entity:Stub {id: 'a'})-[:LINKED {_key: $key, _position: $at}]->(:Extract:Stub {id: 8})`,
      { key: gone(3).key, at: at(1) },
    );
    await send(repaired(2));
    expect(await relationships()).toEqual(['LINKED a>8']);
  });

  it('is no reason to ask for the row, though tombstones that old are purged', async () => {
    await send(earlier(2), linkDelete(g, ['b', 7n, 'novel'], at(5)));
    await purgeAll(g);
    const lane = await g.lane('public.entity_extract');
    const absent = { ...link(g, ['c', 7n, 'novel'], at(2)), thorough: true };
    expect(await lane.apply([repaired(2), absent])).toEqual({ applied: 1, refused: 0, purged: [absent.key] });
  });

  it('is counted once, however many types it stands under', async () => {
    const lane = await g.lane('public.entity_extract');
    await send(earlier(1), earlier(2, 'SIGHTED'), changed(3));
    expect(await lane.apply([repaired(2)])).toEqual({ applied: 0, refused: 1, purged: [] });
    expect(await lane.apply([repaired(4)])).toEqual({ applied: 1, refused: 0, purged: [] });
    await send(earlier(5), earlier(6, 'SIGHTED'));
    expect(await lane.apply([gone(5)])).toEqual({ applied: 0, refused: 1, purged: [] });
    expect(await lane.apply([gone(7)])).toEqual({ applied: 1, refused: 0, purged: [] });
  });

  it('is moved by every record of a replay', async () => {
    await send(earlier(1));
    const { topic } = g.table('public.entity_extract');
    const stretch = { topic, partition: 0, start: 0n, end: 1n, generation: GENERATION };
    const owner = randomUUID();
    await beginReplay(g.graph, g.mapping, { owner, id: 'this', what: 'it', restart: true }, [stretch]);
    const writer = createWriter(g.graph, g.mapping, { owner, scope: 'replay' });
    const step = {
      topic,
      partition: 0,
      from: 0n,
      next: 1n,
      position: at(1),
      epoch: 1,
      session: 1,
      committedMs: null,
    };
    expect(await writer.apply({ ...step, mutations: [changed(1)] })).toMatchObject({ applied: 1 });
    await endReplay(g.graph, g.mapping, owner);
    expect(await relationships()).toEqual(['OBSERVED a>7']);
  });
});

describe('a truncate', () => {
  it('removes what is older, keeps what is newer, and what is older stays away', async () => {
    await send(
      entity('old', at(1)),
      entity('new', at(5)),
      entity('held', at(2)),
      relation(g, 'r', at(1), ['held', 'new']),
    );
    const lane = await g.lane('public.entity');
    await lane.truncate(at(4));
    expect(await nodes()).toEqual(['held:Stub', 'new:Indicator']);
    expect(
      await lane.apply([entity('old', at(1)), entity('held', at(3)), entity('late', at(6))]),
    ).toMatchObject({
      applied: 1,
      refused: 2,
    });
    expect(await nodes()).toEqual(['held:Stub', 'late:Indicator', 'new:Indicator']);
  });

  it('of relationships takes their stubs along, of each type', async () => {
    await send(
      link(g, ['a', 7n, 'observed'], at(1)),
      link(g, ['a', 8n, 'novel'], at(1)),
      link(g, ['b', 8n, 'sighted'], at(5)),
    );
    await (await g.lane('public.entity_extract')).truncate(at(4));
    expect(await relationships()).toEqual(['SIGHTED b>8']);
    expect(await nodes()).toEqual(['8:Stub', 'b:Stub']);
  });

  it('does not undo a later one', async () => {
    const lane = await g.lane('public.entity');
    await lane.truncate(at(5));
    await lane.truncate(at(2));
    expect(await lane.apply([entity('a', at(4))])).toMatchObject({ refused: 1 });
  });

  it('goes through more pages than one', async () => {
    await g.cypher(
      `UNWIND range(1, 12000) AS i CREATE (:Entity {id: toString(i), _position: CASE WHEN i % 3 = 0 THEN $newer ELSE $older END})`,
      { older: at(1), newer: at(9) },
    );
    await (await g.lane('public.entity')).truncate(at(5));
    expect(await g.cypher('MATCH (n:Entity) RETURN count(*) AS count, min(n._position) AS lowest')).toEqual([
      { count: 4000n, lowest: at(9) },
    ]);
  });

  it('cut short is not over: its floor holds, and it begins again', async () => {
    await g.cypher(`UNWIND range(1, 6000) AS i CREATE (:Entity {id: toString(i), _position: $older})`, {
      older: at(1),
    });
    const dying = await g.lane('public.entity');
    // All of them: which one a chunk begins with is Neo4j's choice.
    const held = await hold(g, 'MATCH (n:Entity) REMOVE n._lock');
    const cut = dying.truncate(at(5));
    await blocked(g, 'Entity');
    const takeOver = g.lane('public.entity');
    await blocked(g, 'SET p.owner');
    const rejected = expect(cut).rejects.toMatchObject({ code: 'PROGRESS_LOST' });
    await held.release();
    await rejected;
    const heir = await takeOver;
    expect(heir.next()).toBe(dying.next());
    expect(await heir.apply([entity('999', at(2))])).toMatchObject({ refused: 1 });
    await heir.truncate(at(5));
    expect(await nodes()).toEqual([]);
  });
});

describe('a purge', () => {
  const purge = () =>
    purgeTombstones(
      g.graph,
      { ...g.mapping, sink: { ...g.mapping.sink, tombstoneRetentionMs: -60_000 } },
      new AbortController().signal,
    );

  it('forgets tombstones, and asks for what they may have forbidden', async () => {
    await send(nodeDelete('a', at(3)), nodeDelete('b', at(5)), relationDelete(g, 'r', at(5)));
    expect(await purge()).toBe(3);
    const lane = await g.lane('public.entity');
    expect(await lane.apply([entity('a', at(4)), entity('c', at(6))])).toEqual({
      applied: 1,
      refused: 0,
      purged: ['a'],
    });
    const other = await g.lane('public.relation');
    expect(
      await other.apply([relation(g, 'r', at(4), ['c', 'd']), relation(g, 's', at(6), ['c', 'e'])]),
    ).toEqual({
      applied: 1,
      refused: 0,
      purged: ['r'],
    });
    expect(await nodes()).toEqual(['c:Indicator', 'e:Stub']);
  });

  it('asks for them also where an older delete was replayed since', async () => {
    await send(nodeDelete('a', at(9)), relationDelete(g, 'r', at(9)));
    await purge();
    await send(nodeDelete('a', at(2)), relationDelete(g, 'r', at(2)));
    expect(await (await g.lane('public.entity')).apply([entity('a', at(3))])).toMatchObject({
      applied: 0,
      purged: ['a'],
    });
    expect(
      await (await g.lane('public.relation')).apply([relation(g, 'r', at(3), ['b', 'c'])]),
    ).toMatchObject({ applied: 0, purged: ['r'] });
  });

  it('is what a graph has that begins further down: older rows are asked for, of the tables named', async () => {
    await forbidUnseen(g.graph, g.mapping, new Set(['public.entity']), at(5));
    await forbidUnseen(g.graph, g.mapping, new Set(['public.entity']), at(4));
    const lane = await g.lane('public.entity');
    expect(await lane.apply([entity('a', at(5)), entity('b', at(6))])).toMatchObject({
      applied: 1,
      purged: ['a'],
    });
    await send(relation(g, 'r', at(5), ['b', 'c']));
    expect(await nodes()).toEqual(['b:Indicator', 'c:Stub']);
  });

  it('asks for nothing that is there', async () => {
    await send(
      entity('a', at(1)),
      relation(g, 'r', at(1), ['a', 'b']),
      nodeDelete('z', at(9)),
      relationDelete(g, 'z', at(9)),
    );
    await purge();
    expect(await (await g.lane('public.entity')).apply([entity('a', at(2))])).toMatchObject({ applied: 1 });
    expect(
      await (await g.lane('public.relation')).apply([relation(g, 'r', at(2), ['a', 'c'])]),
    ).toMatchObject({ applied: 1 });
  });

  it('leaves younger tombstones and other tables alone', async () => {
    await send(nodeDelete('a', at(3)), linkDelete(g, ['a', 7n, 'observed'], at(3)));
    expect(await purgeTombstones(g.graph, g.mapping, new AbortController().signal)).toBe(0);
    await send(entity('a', at(2)), link(g, ['a', 7n, 'observed'], at(2)));
    expect(await nodes()).toEqual([]);
  });

  it('lets the batch fail if asking fails', async () => {
    await send(nodeDelete('a', at(3)));
    await purge();
    const lane = await g.lane('public.entity');
    const refused = new Error('PostgreSQL is away');
    await expect(
      lane.apply([entity('a', at(1)), entity('b', at(4))], () => Promise.reject(refused)),
    ).rejects.toBe(refused);
    expect(await nodes()).toEqual([]);
    expect(await lane.apply([entity('a', at(1)), entity('b', at(4))])).toMatchObject({
      applied: 1,
      purged: ['a'],
    });
  });
});

describe('values', () => {
  const HOSTILE = [
    `'`,
    `"`,
    '`',
    '\\',
    `\\'`,
    `'}) DETACH DELETE n //`,
    '`}) MATCH (n) DETACH DELETE n //',
    '\\u0060',
    '\\u0027',
    '$rows',
    '{$key}',
    '${0}',
    '/*',
    '*/',
    '//',
    ';',
    '\u0000',
    '\u202e',
    '\ud83e\udd8a',
    'עברית',
    '__proto__',
    'null',
    'NaN',
    '|',
    'a|b',
    '',
    ' ',
    '\n',
    '\r\n',
    '\u2028',
    'constructor',
    ':Entity',
    'CALL dbms.components()',
  ];
  const hostile = Array.from({ length: 500 }, (_, i) => {
    const pick = (n: number) => HOSTILE[n % HOSTILE.length] ?? '';
    return `${pick(i)}${pick(i * 7 + 3)}${i}`;
  });

  it('that are hostile are stored as they are, 500 of them, as keys and as text', async () => {
    const lane = await g.lane('public.entity');
    expect(await lane.apply(hostile.map((text) => entity(text, at(1), { title: text })))).toMatchObject({
      applied: 500,
    });
    const relations = await g.lane('public.relation');
    await relations.apply(hostile.map((text) => relation(g, text, at(1), [text, 'z'], text)));
    const rows = await g.cypher(
      'MATCH (n:Entity)-[r:RELATED]->(:Stub {id: "z"}) RETURN n.id AS id, n.title AS title, r.id AS key, r.key AS name',
    );
    const sorted = [...hostile].sort();
    for (const column of ['id', 'title', 'key', 'name'])
      expect(rows.map((row) => row[column]).sort()).toEqual(sorted);
    await relations.apply(hostile.map((text) => relationDelete(g, text, at(2))));
    await lane.apply(hostile.map((text) => nodeDelete(text, at(2))));
    expect(await nodes()).toEqual([]);
    expect(await lane.apply(hostile.map((text) => entity(text, at(1))))).toMatchObject({ refused: 500 });
  });

  it.each([9223372036854775807n, -9223372036854775808n, 9007199254740993n, 0n])(
    'of the integer %s survive, as keys too',
    async (n) => {
      await send(extract(n, at(1)));
      expect(await g.cypher('MATCH (n:Extract) RETURN n.id AS id')).toEqual([{ id: n }]);
      await send(nodeDelete(n, at(3)), extract(n, at(2)));
      expect(await nodes()).toEqual([]);
    },
  );

  it('of 1 MB of text survive', async () => {
    const text = '\ud83e\udd8a"\\'.repeat(250_000);
    await send(entity('a', at(1), { title: text }));
    expect(await g.cypher('MATCH (n:Entity) RETURN n.title = $text AS same', { text })).toEqual([
      { same: true },
    ]);
  });
});
