/** What the tests of `graph rebuild` share: a filled platform, and a look at what a graph says of its rebuild. */
import { expect } from 'vitest';
import { createKafka, type KafkaClient } from '../../src/kafka/client.ts';
import { readLatest } from '../../src/kafka/read-topic.ts';
import { endOffsets, withAdmin } from '../../src/kafka/topics.ts';
import { fill } from './fill.ts';
import { hashNeo4j } from './canonical-neo4j.ts';
import { hashPostgres } from './canonical-postgres.ts';
import { compareHashes } from './compare.ts';
import { silent } from './kafka.ts';
import { createPlatform, eventually, type Platform, type Process } from './platform.ts';
import { published } from './published.ts';
import type { SecondNeo4j } from './second-neo4j.ts';

export const TABLES = ['entity', 'relation', 'extract', 'entity_extract'] as const;

export async function filled(name: string, entities: number): Promise<Platform> {
  const created = await createPlatform(name);
  await fill(created.sql, { seed: 11, entities });
  return created;
}

/** Every older row is in Kafka. */
export async function publishedBy(platform: Platform): Promise<Process> {
  const publisher = platform.start(['publish']);
  await eventually('every table is loaded', () => {
    const loaded = publisher.logs.filter(({ msg }) => msg === 'initial load: every row is in the stream');
    return Promise.resolve(loaded.length === TABLES.length);
  });
  await published(platform);
  return publisher;
}

export function kafkaOf(platform: Platform): KafkaClient {
  return createKafka({ brokers: [platform.env['KAFKA_BROKERS'] ?? ''], clientId: 'test' }, silent);
}

export const topicsOf = ({ name }: Platform): string[] => TABLES.map((table) => `${name}.public.${table}`);

/** How many records the topics have or had. */
export async function recordsOf(platform: Platform, topics = topicsOf(platform)): Promise<number> {
  const ends = await withAdmin(kafkaOf(platform), (admin) => endOffsets(admin, topics));
  return [...ends.values()].flat().reduce((sum, { end }) => sum + Number(end), 0);
}

export interface OnGraph {
  readonly cypher: Platform['cypher'];
}

/** What the graph says of a rebuild that is not finished. */
export async function markOf(on: OnGraph, { name }: Platform): Promise<unknown> {
  const [row] = await on.cypher('MATCH (g:_Graph {id: $name}) RETURN g.rebuild AS rebuild', { name });
  return row?.['rebuild'] ?? null;
}

/** `next` of each partition. */
export async function progressOf(on: OnGraph, { name }: Platform): Promise<ReadonlyMap<string, bigint>> {
  const rows = await on.cypher('MATCH (p:_Progress {namespace: $name}) RETURN p.id AS id, p.next AS next', {
    name,
  });
  return new Map(rows.map((row) => [String(row['id']), row['next'] as bigint]));
}

/** How many records the graph has got past, over all partitions. */
export async function reachedBy(on: OnGraph, platform: Platform): Promise<number> {
  return [...(await progressOf(on, platform)).values()].reduce((sum, next) => sum + Number(next), 0);
}

/** Of a run that has ended well: what it proved. */
export function proofIn(stdout: string): Record<string, unknown> {
  expect(stdout.trim().split('\n')).toHaveLength(1);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Behind everything that is committed by now, before all that is written from now on. */
export async function writtenBy({ sql }: Pick<Platform, 'sql'>): Promise<bigint> {
  const { rows } = await sql.query<{ lsn: string }>(
    `select (pg_current_wal_insert_lsn() - '0/0')::text as lsn`,
  );
  return BigInt(rows[0]?.lsn ?? '');
}

/** `X/Y`, as PostgreSQL writes it. */
export function lsnFrom(text: unknown): bigint {
  const [high = '', low = ''] = String(text).split('/');
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}

/** Of the source, as the control topic has it: that of the highest session. */
export async function epochOf(platform: Platform): Promise<unknown> {
  const control = await readLatest(
    kafkaOf(platform),
    `${platform.name}.control`,
    AbortSignal.timeout(20_000),
    (value) => JSON.parse(String(value)) as Record<string, unknown>,
  );
  const sources = [...control.values()].filter(({ kind }) => kind === 'source');
  return sources.sort((a, b) => Number(a['session']) - Number(b['session'])).at(-1)?.['epoch'];
}

/** Of all mapped tables. */
export async function rowsOf({ sql }: Pick<Platform, 'sql'>): Promise<number> {
  const { rows } = await sql.query<{ n: string }>(
    `select ${TABLES.map((table) => `(select count(*) from ${table})`).join(' + ')} as n`,
  );
  return Number(rows[0]?.n);
}

export async function expectEqualTo(
  platform: Platform,
  { driver }: Pick<SecondNeo4j, 'driver'>,
): Promise<void> {
  const source = await hashPostgres(platform.sql, 'public');
  expect(source.lines.length).toBeGreaterThan(10);
  expect(compareHashes(source, await hashNeo4j(driver, platform.names))).toEqual([]);
}
