/** A graph of a test's own on the shared server, what a projector would send to it, and Cypher to look at it with. */
import { randomBytes, randomUUID } from 'node:crypto';
import neo4j, { type Driver } from 'neo4j-driver';
import type { KeyedMutation, NodeUpsert, RelationshipUpsert } from '../../src/core/graph.ts';
import { lsn } from '../../src/core/lsn.ts';
import { type Position, position } from '../../src/core/position.ts';
import type { TableFile } from '../../src/core/mapping-schema.ts';
import { connectNeo4j, type Graph, type Neo4jOptions } from '../../src/neo4j/client.ts';
import { ensureProgress, takeOver } from '../../src/neo4j/progress.ts';
import { ensureSchema } from '../../src/neo4j/schema.ts';
import { type ApplyResult, createWriter } from '../../src/neo4j/writer.ts';
import { createLog } from '../../src/runtime/log.ts';
import { servers } from './servers.ts';
import { testMapping, type TestMapping } from './test-mapping.ts';

export const GENERATION = 'first';
export const quiet = createLog('fatal', 'test');

export interface TestGraph extends TestMapping {
  readonly graph: Graph;
  readonly driver: Driver;
  /** Labels and types of the shipped mapping stand for the test's own. */
  readonly cypher: (query: string, parameters?: object) => Promise<Record<string, unknown>[]>;
  /** Takes a partition over. `filling`: each batch is first tried as one of new nodes. */
  readonly lane: (table: string, partition?: number, on?: Graph, filling?: boolean) => Promise<Lane>;
  /** Deletes everything of it but its schema, floors and progress. */
  readonly clear: () => Promise<void>;
  readonly dispose: () => Promise<void>;
}

/** A partition, as its owner writes it. */
export interface Lane {
  readonly apply: (
    mutations: readonly KeyedMutation[],
    beforeCommit?: (result: ApplyResult) => Promise<void>,
  ) => Promise<ApplyResult>;
  readonly truncate: (at: Position) => Promise<void>;
  readonly next: () => bigint;
}

export function neo4jOptions(): Neo4jOptions {
  const { neo4jUri: uri, neo4jUsername: username, neo4jPassword: password, neo4jDatabase } = servers();
  return { uri, username, password, database: neo4jDatabase };
}

export async function createTestGraph(
  prefix: string,
  change?: (file: TableFile) => TableFile,
): Promise<TestGraph> {
  const options = neo4jOptions();
  const { database } = options;
  const own = testMapping(`${prefix}_${randomBytes(4).toString('hex')}`, change);
  const { mapping, rename } = own;
  const { namespace } = mapping.sink;
  const graph = connectNeo4j(options, quiet);
  const driver = neo4j.driver(options.uri, neo4j.auth.basic(options.username, options.password), {
    useBigInt: true,
  });
  const cypher: TestGraph['cypher'] = async (query, parameters = {}) => {
    const { records } = await driver.executeQuery(rename(query), parameters, { database });
    return records.map((record) => record.toObject());
  };
  await ensureSchema(graph, mapping, AbortSignal.timeout(60_000));
  await ensureProgress(graph, mapping, new Map(mapping.tables.map(({ topic }) => [topic, GENERATION])));
  const clear = async () => {
    await cypher('MATCH (n:Entity|Extract) DETACH DELETE n');
    await cypher('MATCH (t:_Tombstone {namespace: $namespace}) DELETE t', { namespace });
    await cypher(`MATCH (f:_Floor {namespace: $namespace}) SET f.position = '', f.purgedThrough = ''`, {
      namespace,
    });
  };

  return {
    ...own,
    graph,
    driver,
    cypher,
    clear,
    async lane(name, partition = 0, on = graph, filling = false) {
      const { topic } = own.table(name);
      const owner = randomUUID();
      const taken = await takeOver(on, mapping, { topic, partition, owner, generation: GENERATION });
      // A new one each time has made no wrong guess yet.
      const writer = () => createWriter(on, mapping, { owner, filling: () => filling });
      let from = taken.next;
      const step = (at: Position, records: number) => ({
        topic,
        partition,
        from,
        next: from + BigInt(records),
        position: at,
        epoch: 1,
        session: 1,
        committedMs: null,
      });
      return {
        next: () => from,
        async apply(mutations, beforeCommit) {
          const highest =
            mutations
              .map((m) => m.position)
              .sort()
              .at(-1) ?? at(0);
          const batch = { ...step(highest, Math.max(1, mutations.length)), mutations };
          const result = await writer().apply(batch, beforeCommit);
          from = batch.next;
          return result;
        },
        async truncate(position) {
          const one = step(position, 1);
          await writer().truncate({ ...one, table: name });
          from = one.next;
        },
      };
    },
    async dispose() {
      await clear();
      await cypher('MATCH (n:_Progress|_Floor|_Graph {namespace: $namespace}) DELETE n', { namespace });
      for (const { name } of (await cypher(
        'SHOW CONSTRAINTS YIELD name, labelsOrTypes WHERE any(x IN labelsOrTypes WHERE x ENDS WITH $namespace) RETURN name',
        { namespace },
      )) as { name: string }[])
        await cypher(`DROP CONSTRAINT \`${name}\` IF EXISTS`);
      await driver.close();
      await graph.close();
    },
  };
}

/** A position: the nth moment of history. */
export function at(n: number): Position {
  return position(1, lsn(BigInt(n)), lsn(BigInt(n)));
}

export function entity(
  key: string,
  position: Position,
  { typeLabel = 'Indicator', title = 'a title' }: { typeLabel?: string | null; title?: string | null } = {},
): NodeUpsert {
  const values = [`x-${key}`, 'indicator', title, null, 1n, 2n, '{"n": 1}', '{}'];
  return { kind: 'node-upsert', table: 'public.entity', key, position, typeLabel, values };
}

export function extract(key: bigint, position: Position, value = '10.0.0.1'): NodeUpsert {
  const values = ['ipv4', value, '{}', 1n, 2n];
  return { kind: 'node-upsert', table: 'public.extract', key, position, typeLabel: null, values };
}

export function nodeDelete(key: string | bigint, position: Position): KeyedMutation {
  const table = typeof key === 'bigint' ? 'public.extract' : 'public.entity';
  return { kind: 'node-delete', table, key, position };
}

export function relation(
  { nameOf }: TestMapping,
  key: string,
  position: Position,
  [from, to]: readonly [string, string],
  name = 'targets',
): RelationshipUpsert {
  const type = nameOf('RELATED');
  return {
    kind: 'relationship-upsert',
    table: 'public.relation',
    key,
    position,
    type,
    from,
    to,
    values: [name, null, 1n],
    thorough: false,
  };
}

export function relationDelete({ nameOf }: TestMapping, key: string, position: Position): KeyedMutation {
  return { kind: 'relationship-delete', table: 'public.relation', key, position, type: nameOf('RELATED') };
}

const LINK_TYPES = { observed: 'OBSERVED', sighted: 'SIGHTED' } as const;

export function link(
  { nameOf }: TestMapping,
  [from, to, linkType]: readonly [string, bigint, string],
  position: Position,
): RelationshipUpsert {
  const type = LINK_TYPES[linkType as keyof typeof LINK_TYPES] as 'OBSERVED' | 'SIGHTED' | undefined;
  return {
    kind: 'relationship-upsert',
    table: 'public.entity_extract',
    key: JSON.stringify([from, String(to), linkType]),
    position,
    type: nameOf(type ?? 'LINKED'),
    from,
    to,
    values: type === undefined ? [1n, linkType] : [1n],
    thorough: false,
  };
}

export function linkDelete(
  own: TestMapping,
  ends: readonly [string, bigint, string],
  position: Position,
): KeyedMutation {
  const { key, table, type } = link(own, ends, position);
  return { kind: 'relationship-delete', table, key, position, type };
}
