/** Adopted graphs, plans, identities, and a server that cannot be used. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomBytes } from 'node:crypto';
import type { Mapping } from '../../src/core/mapping.ts';
import { connectNeo4j, type Graph, verify } from '../../src/neo4j/client.ts';
import { consumerGroup, graphIdentity } from '../../src/neo4j/graph-id.ts';
import { readProgress } from '../../src/neo4j/progress.ts';
import { ensureSchema, requireUnique } from '../../src/neo4j/schema.ts';
import { statementsOf } from '../../src/neo4j/statements.ts';
import { at, createTestGraph, entity, neo4jOptions, quiet, type TestGraph } from '../support/test-graph.ts';
import { testMapping } from '../support/test-mapping.ts';

let g: TestGraph;
beforeAll(async () => {
  g = await createTestGraph('schema');
});
afterAll(() => g.dispose());

describe('an adopted graph', () => {
  async function adopted(
    queries: readonly string[],
    use: (mapping: Mapping) => Promise<unknown> = (mapping) =>
      ensureSchema(g.graph, mapping, AbortSignal.timeout(30_000)),
  ): Promise<unknown> {
    const { mapping, rename } = testMapping(`adopted_${randomBytes(4).toString('hex')}`);
    const own = mapping.sink.namespace;
    for (const query of queries) await g.driver.executeQuery(rename(query));
    try {
      return await use(mapping).catch((error: unknown) => error);
    } finally {
      await g.driver.executeQuery(rename('MATCH (n:Entity|Extract) DETACH DELETE n'));
      const { records } = await g.driver.executeQuery(
        `SHOW INDEXES YIELD name, labelsOrTypes, owningConstraint WHERE any(x IN labelsOrTypes WHERE x ENDS WITH $own)
         RETURN CASE WHEN owningConstraint IS NULL THEN 'INDEX' ELSE 'CONSTRAINT' END + ' \`' + name + '\`' AS drop`,
        { own },
      );
      for (const record of records) await g.driver.executeQuery(`DROP ${String(record.get('drop'))}`);
      await g.driver.executeQuery('MATCH (f:_Floor {namespace: $own}) DELETE f', { own });
    }
  }

  const DUPLICATES = [
    `UNWIND range(1, 12) AS i UNWIND [1, 2, 3] AS j CREATE (:Entity {id: 'k' + right('0' + i, 2)})`,
    'CREATE (:Extract {id: 7}), (:Extract {id: 7}), (:Extract {id: 8})',
    `CREATE (a:Extract {id: 9})-[:RELATED {id: 'r'}]->(a), (a)-[:RELATED {id: 'r'}]->(a)`,
  ];
  it.each<[string, ((mapping: Mapping) => Promise<void>) | undefined]>([
    ['made ready', undefined],
    ['only looked at', (mapping) => requireUnique(g.graph, mapping)],
  ])('with duplicates is refused with all of them, of nodes and relationships, when %s', async (_, use) => {
    const error = await adopted(DUPLICATES, use);
    expect(error).toMatchObject({ code: 'NEO4J_DUPLICATES' });
    const { message } = error as Error;
    expect(message).toMatch(/Entity_\w+\.id k01 \(3 times\), k02 \(3 times\),.* k10 \(3 times\) and 2 more/);
    expect(message).toMatch(/Extract_\w+\.id 7 \(2 times\)/);
    expect(message).toMatch(/RELATED_\w+\.id r \(2 times\)/);
  });

  it('is only looked at: nothing is made where keys are unique, and what has its constraint costs nothing', async () => {
    let made: unknown;
    const error = await adopted([`CREATE (:Entity {id: 'one'}), (:Entity), (:Entity)`], async (mapping) => {
      await requireUnique(g.graph, mapping);
      made = await g.cypher(
        'SHOW INDEXES YIELD labelsOrTypes WHERE any(x IN labelsOrTypes WHERE x ENDS WITH $own) RETURN labelsOrTypes',
        { own: mapping.sink.namespace },
      );
    });
    expect({ error, made }).toEqual({ error: undefined, made: [] });

    const asked: string[] = [];
    const run: Graph['run'] = (query, ...more) => {
      asked.push(query);
      return g.graph.run(query, ...more);
    };
    await requireUnique({ ...g.graph, run }, g.mapping);
    expect(asked).toEqual([expect.stringMatching(/^SHOW CONSTRAINTS/)]);
  });

  it('with indexes where constraints must be is refused with the statements that help', async () => {
    const error = await adopted([
      'CREATE INDEX FOR (n:Entity) ON (n.id)',
      'CREATE INDEX FOR ()-[r:OBSERVED]-() ON (r._key)',
    ]);
    expect(error).toMatchObject({ code: 'NEO4J_SCHEMA' });
    expect((error as Error).message.match(/DROP INDEX `[^`]+`/g)).toHaveLength(2);
  });

  it('without duplicates is taken over: unstamped nodes are the oldest', async () => {
    await g.cypher(`CREATE (:Entity {id: 'found', title: 'theirs', theirs: 1})`);
    const lane = await g.lane('public.entity');
    expect(await lane.apply([entity('found', at(1))])).toMatchObject({ applied: 1 });
    expect(
      await g.cypher(`MATCH (n:Entity {id: 'found'}) RETURN n.title AS title, n.theirs AS theirs`),
    ).toEqual([{ title: 'a title', theirs: null }]);
  });

  it('may be made ready by several at once, and again', async () => {
    const { mapping } = testMapping(`several_${randomBytes(4).toString('hex')}`);
    const signal = AbortSignal.timeout(30_000);
    await Promise.all([1, 2, 3].map(() => ensureSchema(g.graph, mapping, signal)));
    await ensureSchema(g.graph, mapping, signal);
    const own = mapping.sink.namespace;
    expect(await g.cypher('MATCH (f:_Floor {namespace: $own}) RETURN count(*) AS floors', { own })).toEqual([
      { floors: 4n },
    ]);
    await g.cypher('MATCH (f:_Floor {namespace: $own}) DELETE f', { own });
    for (const { name } of await g.cypher(
      'SHOW CONSTRAINTS YIELD name, labelsOrTypes WHERE any(x IN labelsOrTypes WHERE x ENDS WITH $own) RETURN name',
      { own },
    ))
      await g.cypher(`DROP CONSTRAINT \`${String(name)}\``);
  });
});

describe('the plan of every statement', () => {
  it('reads what a lock protects where it stands, and finds rows by their key', async () => {
    const writes = new Map(
      [...statementsOf(g.mapping).values()].flatMap((table) =>
        (table.kind === 'node' ? [table] : [...table.byType.values()]).flatMap(
          ({ upsert, thorough, remove }) =>
            [upsert, thorough, remove].map((statement) => [statement, table] as const),
        ),
      ),
    );
    // One delete of links, whatever their type, and for each type an upsert that looks under all of them.
    expect(writes.size).toBe(2 + 2 + 2 + 7);
    for (const [statement, table] of writes) {
      const { summary } = await g.driver.executeQuery(`EXPLAIN ${statement}`, {
        ...table.parameters,
        batch: { rows: [] },
      });
      const plan = JSON.stringify(summary.plan && summary.plan.arguments['string-representation']);
      expect(plan).toContain('UniqueIndexSeek(Locking)');
      expect(plan).not.toMatch(/cache\[\w+\.(_position|position|purgedThrough|id|_key)\]/);
      expect(plan).not.toMatch(/Scan/);
      const seeks = plan.split('RelationshipUniqueIndexSeek(Locking)').length - 1;
      expect(seeks).toBe(statement.split('USING INDEX SEEK').length - 1);
    }
  });
});

describe('the identity of a graph', () => {
  it('stays, and names a group of its own', async () => {
    const [first, second] = [
      await graphIdentity(g.graph, g.mapping),
      await graphIdentity(g.graph, g.mapping),
    ];
    expect(second).toEqual(first);
    expect(consumerGroup('p', first)).toMatch(/^p-[0-9a-f]{16}$/);
    const copy = { ...first, serverId: 'another' };
    expect(consumerGroup('p', copy)).not.toBe(consumerGroup('p', first));
    expect(consumerGroup('p', { ...first, uuid: 'another' })).not.toBe(consumerGroup('p', first));
  });
});

describe('progress', () => {
  it('has a row per partition from the start, and moves with what is applied', async () => {
    const topic = g.table('public.extract').topic;
    const rows = async () => (await readProgress(g.graph, g.mapping)).filter((row) => row.topic === topic);
    expect((await rows()).map(({ next, position, owner }) => ({ next, position, owner }))).toEqual(
      Array.from({ length: 4 }, () => ({ next: 0n, position: '', owner: null })),
    );
    const lane = await g.lane('public.extract', 2);
    await lane.apply([]);
    const moved = (await rows()).find((row) => row.partition === 2);
    expect(moved).toMatchObject({ next: 1n, epoch: 1, session: 1 });
  });
});

describe('a server that cannot be used', () => {
  it.each([
    ['is not there', { uri: 'bolt://127.0.0.1:1' }, 'NEO4J_UNREACHABLE'],
    ['does not know the password', { password: 'canary-password' }, 'NEO4J_AUTH'],
    ['has no such database', { database: 'nowhere' }, 'NEO4J_DATABASE'],
  ] as const)('because it %s says so, without a secret', async (_name, options, code) => {
    const graph = connectNeo4j({ ...neo4jOptions(), ...options }, quiet);
    const error: unknown = await verify(graph).catch((e: unknown) => e);
    await graph.close();
    expect(error).toMatchObject({ code });
    expect(JSON.stringify([error, (error as Error).message])).not.toContain('canary');
  });
});
