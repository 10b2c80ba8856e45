/**
 * A small platform and the graph that it should be, both written by hand: what readers of either side are tested
 * against. Values are those that go wrong easily; times at both ends of what either side can hold.
 */
import { randomBytes } from 'node:crypto';
import neo4j, { type Config, type Driver } from 'neo4j-driver';
import type pg from 'pg';
import type { GraphNames } from './canonical-neo4j.ts';
import { servers } from './servers.ts';

export const id = (n: number): string => `0000000${n}-aaaa-4aaa-8aaa-00000000000${n}`;

const INT64_MAX = 9223372036854775807n;
const INT64_MIN = -9223372036854775808n;
/** 15 March 44 BC, noon. */
const IDES = BigInt(new Date('-000043-03-15T12:00:00Z').getTime()) * 1000n;
const T = BigInt(Date.UTC(2024, 0, 1)) * 1000n;
const BEYOND_DOUBLE = 9007199254740993n;

export async function writeRows(client: pg.ClientBase): Promise<void> {
  await client.query(`
    insert into entity (id, type, data, meta, created_at, last_updated_at) values
      ('${id(1)}', 'indicator', '{"id": "x-1", "title": "Fox 🦊", "n": 12345678901234567890.120}', '{"tlp_color": "RED"}',
        '2024-01-01T00:00:00.000001Z', 'infinity'),
      ('${id(2)}', 'course-of-action', '{"title": null, "name": "Name", "id": 7}', '{"title": "no"}',
        '2024-01-01T00:00:00Z', '-infinity'),
      ('${id(3)}', 'report', '{"title": 12345678901234567890.120, "id": {"b": 1, "a": [true]}}', '{}',
        '0044-03-15 12:00:00+00 BC', '2024-01-01T00:00:00Z'),
      ('${id(4)}', 'novelty', '[]', '{"title": "\\"q\\\\ \\u0007 עברית \\u2028"}',
        '2024-01-01T00:00:00Z', '294276-12-31T23:59:59.999999Z'),
      ('${id(5)}', 'ttp', '{"title": ""}', '{"tlp_color": false}', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z');
    insert into relation (id, key, subtype, source_id, source_type, target_id, target_type, created_at, last_updated_at) values
      ('${id(1)}', 'uses', null, '${id(1)}', 'indicator', '${id(2)}', 'ttp', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z'),
      ('${id(2)}', 'a\`b"c''', 'sub', '${id(3)}', 'report', '${id(3)}', 'report', '2024-01-01T00:00:00Z', 'infinity'),
      ('${id(3)}', 'uses', '', '${id(3)}', 'report', '${id(8)}', 'ttp', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z');
    insert into extract (id, kind, value, meta, created_at, last_updated_at) values
      (1, 'ipv4', '10.0.0.1', '{"b": 1, "aa": 2}', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00.5Z'),
      (${BEYOND_DOUBLE}, 'uri', 'https://x/', '{}', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z'),
      (${INT64_MIN}, 'domain', 'x', '{}', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z');
    insert into entity_extract (entity_id, extract_id, link_type, created_at, last_updated_at) values
      ('${id(1)}', 1, 'observed', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z'),
      ('${id(1)}', 1, 'sighted', '2024-01-01T00:00:00Z', 'infinity'),
      ('${id(1)}', 1, '🦊', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z'),
      ('${id(1)}', 1, U&'\\FF5E', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z'),
      ('${id(1)}', ${BEYOND_DOUBLE}, 'observed', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z'),
      ('${id(2)}', 77, 'sighted', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z'),
      ('${id(9)}', 1, 'observed', '2024-01-01T00:00:00Z', '2024-01-01T00:00:00Z');
  `);
}

const ENTITIES = [
  {
    id: id(1),
    label: 'Indicator',
    type: 'indicator',
    data_id: 'x-1',
    title: 'Fox 🦊',
    tlp: 'RED',
    created_at: T + 1n,
    last_updated_at: INT64_MAX,
    data: '{"n": 12345678901234567890.120, "id": "x-1", "title": "Fox 🦊"}',
    meta: '{"tlp_color": "RED"}',
  },
  {
    id: id(2),
    label: 'CourseOfAction',
    type: 'course-of-action',
    data_id: '7',
    title: 'Name',
    created_at: T,
    last_updated_at: INT64_MIN,
    data: '{"id": 7, "name": "Name", "title": null}',
    meta: '{"title": "no"}',
  },
  {
    id: id(3),
    label: 'Report',
    type: 'report',
    data_id: '{"a": [true], "b": 1}',
    title: '12345678901234567890.120',
    created_at: IDES,
    last_updated_at: T,
    data: '{"id": {"a": [true], "b": 1}, "title": 12345678901234567890.120}',
    meta: '{}',
  },
  {
    id: id(4),
    type: 'novelty',
    title: '"q\\ \u0007 עברית \u2028',
    created_at: T,
    last_updated_at: INT64_MAX,
    data: '[]',
    meta: '{"title": "\\"q\\\\ \\u0007 עברית \u2028"}',
  },
  {
    id: id(5),
    label: 'Ttp',
    type: 'ttp',
    title: '',
    tlp: 'false',
    created_at: T,
    last_updated_at: T,
    data: '{"title": ""}',
    meta: '{"tlp_color": false}',
  },
] as const;

const RELATIONS = [
  { id: id(1), key: 'uses', last_updated_at: T, from: id(1), to: id(2) },
  { id: id(2), key: 'a`b"c\'', subtype: 'sub', last_updated_at: INT64_MAX, from: id(3), to: id(3) },
  { id: id(3), key: 'uses', subtype: '', last_updated_at: T, from: id(3), to: id(8) },
] as const;

const EXTRACTS = [
  {
    id: 1n,
    kind: 'ipv4',
    value: '10.0.0.1',
    meta: '{"b": 1, "aa": 2}',
    created_at: T,
    last_updated_at: T + 500_000n,
  },
  { id: BEYOND_DOUBLE, kind: 'uri', value: 'https://x/', meta: '{}', created_at: T, last_updated_at: T },
  { id: INT64_MIN, kind: 'domain', value: 'x', meta: '{}', created_at: T, last_updated_at: T },
] as const;

const LINKS = [
  { from: id(1), to: 1n, type: 'observed', last_updated_at: T },
  { from: id(1), to: 1n, type: 'sighted', last_updated_at: INT64_MAX },
  { from: id(1), to: 1n, type: 'linked', link_type: '🦊', last_updated_at: T },
  { from: id(1), to: 1n, type: 'linked', link_type: '\uff5e', last_updated_at: T },
  { from: id(1), to: BEYOND_DOUBLE, type: 'observed', last_updated_at: T },
  { from: id(2), to: 77n, type: 'sighted', last_updated_at: T },
  { from: id(9), to: 1n, type: 'observed', last_updated_at: T },
] as const;

/** Line of the first entity, as compare.ts defines it. */
export const FIRST_LINE = `["entity", "${id(1)}", "x-1", "indicator", "Fox 🦊", "RED", 1704067200000001, 9223372036854775807, "{\\"n\\": 12345678901234567890.120, \\"id\\": \\"x-1\\", \\"title\\": \\"Fox 🦊\\"}", "{\\"tlp_color\\": \\"RED\\"}"]`;

export interface SampleGraph {
  readonly driver: Driver;
  readonly names: GraphNames;
  readonly database: string;
  /** E, X, RELATED, OBSERVED, SIGHTED, LINKED stand for the names of its own. */
  readonly cypher: (query: string, parameters?: Record<string, unknown>) => Promise<void>;
  /** Writes the graph anew. */
  readonly write: () => Promise<void>;
  readonly dispose: () => Promise<void>;
}

export function createSampleGraph(prefix: string, config: Config = {}): SampleGraph {
  const { neo4jUri, neo4jUsername, neo4jPassword, neo4jDatabase: database } = servers();
  const driver = neo4j.driver(neo4jUri, neo4j.auth.basic(neo4jUsername, neo4jPassword), config);
  const suffix = `${prefix}_${randomBytes(4).toString('hex')}`;
  const own = (name: string): string => `${name}_${suffix}`;
  const names: GraphNames = {
    labels: { entity: own('E'), extract: own('X') },
    types: {
      related: own('RELATED'),
      observed: own('OBSERVED'),
      sighted: own('SIGHTED'),
      linked: own('LINKED'),
    },
  };
  const cypher = async (query: string, parameters: Record<string, unknown> = {}): Promise<void> => {
    const text = query.replaceAll(/(?<=[:|])(E|X|RELATED|OBSERVED|SIGHTED|LINKED)\b/g, (name) => own(name));
    await driver.executeQuery(text, parameters, { database });
  };
  const clear = (): Promise<void> => cypher('MATCH (n:E|X) DETACH DELETE n');
  return {
    driver,
    names,
    database,
    cypher,
    async write() {
      await clear();
      // Highest key first, so that the order of writing is not the order of keys.
      for (const { label, ...properties } of ENTITIES.map((entity) => ({ label: '', ...entity })).reverse()) {
        await cypher(
          `CREATE (n:E${label === '' ? '' : `:${label}`}) SET n = $properties, n._position = 'p'`,
          {
            properties,
          },
        );
      }
      for (const properties of [...EXTRACTS].reverse())
        await cypher('CREATE (n:X) SET n = $properties', { properties });
      await cypher(`CREATE (:E:Stub {id: $e8}), (:E:Stub {id: $e9, _position: 'p'}), (:X:Stub {id: 77})`, {
        e8: id(8),
        e9: id(9),
      });
      for (const { from, to, ...properties } of [...RELATIONS].reverse()) {
        await cypher(
          `MATCH (a:E {id: $from}), (b:E {id: $to}) CREATE (a)-[r:RELATED]->(b) SET r = $properties, r._position = 'p'`,
          { from, to, properties },
        );
      }
      for (const { from, to, type, ...properties } of [...LINKS].reverse()) {
        await cypher(
          `MATCH (a:E {id: $from}), (b:X {id: $to}) CREATE (a)-[r:${type.toUpperCase()}]->(b) SET r = $properties`,
          { from, to, properties },
        );
      }
    },
    async dispose() {
      await clear();
      await driver.close();
    },
  };
}
