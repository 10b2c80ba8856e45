import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { loadMapping } from '../../../src/config/connectors.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** A copy of the shipped connectors with some files changed. */
function connectors(changes: Record<string, ((json: Record<string, unknown>) => unknown) | string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'connectors-'));
  folders.push(folder);
  cpSync('connectors', folder, { recursive: true });
  for (const [file, change] of Object.entries(changes)) {
    const path = join(folder, file);
    const text =
      typeof change === 'string'
        ? change
        : JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>));
    writeFileSync(path, text);
  }
  return folder;
}

function problems(folder: string): string {
  try {
    loadMapping(folder);
  } catch (error) {
    return error instanceof Error ? error.message : '';
  }
  return '';
}

describe('the shipped mapping', () => {
  it('lists exactly the ten types of the platform', () => {
    const entity = loadMapping('connectors').tables.find((t) => t.table === 'public.entity');
    expect(entity?.target.kind === 'node' ? [...(entity.target.labels?.byValue.keys() ?? [])] : []).toEqual([
      'campaign',
      'course-of-action',
      'eclecticiq-sighting',
      'exploit-target',
      'incident',
      'indicator',
      'package',
      'report',
      'threat-actor',
      'ttp',
    ]);
  });

  it('identifies nodes and relationships by their mapped key, composite ones by _key', () => {
    const keys = loadMapping('connectors').tables.map((t) => [t.table, t.target.keyProperty]);
    expect(Object.fromEntries(keys)).toEqual({
      'public.entity': 'id',
      'public.relation': 'id',
      'public.extract': 'id',
      'public.entity_extract': '_key',
    });
  });
});

describe('a wrong connector file', () => {
  it('is reported with all others at once: file, path and what to do', () => {
    const folder = connectors({
      'source.postgres.json': (json) => ({ ...json, slot: 'Upper', password: 'hunter2' }),
      'sink.neo4j.json': '{ "namespace": ',
      'entities/extract.json': (json) => ({ ...json, key: {} }),
    });
    const message = problems(folder);
    expect(message).toMatch(/source\.postgres\.json at slot: use lower-case/);
    expect(message).toMatch(/source\.postgres\.json: unknown key password: remove/);
    expect(message).toMatch(/sink\.neo4j\.json: the file is not JSON/);
    expect(message).toMatch(/entities\/extract\.json at key: name at least one key column/);
    expect(message).not.toContain('hunter2');
  });

  it.each<[string, string, (json: Record<string, unknown>) => unknown, RegExp]>([
    [
      'tombstones that go before the topics are compacted',
      'sink.neo4j.json',
      (j) => ({ ...j, tombstoneRetentionMs: 86_400_000 }),
      /tombstoneRetentionMs: must be longer than maxCompactionLagMs/,
    ],
    [
      'a table that is not listed',
      'source.postgres.json',
      (j) => ({ ...j, tables: ['public.entity', 'public.relation', 'public.extract'] }),
      /entity_extract is not in the tables/,
    ],
    [
      'a listed table without a file',
      'source.postgres.json',
      (j) => ({ ...j, tables: [...(j['tables'] as string[]), 'public.x'] }),
      /no file in entities\/ maps public\.x/,
    ],
    [
      'a topic used twice',
      'entities/extract.json',
      (j) => ({ ...j, topic: 'eiq.public.entity' }),
      /share one topic/,
    ],
    [
      'a relationship type of two tables',
      'entities/relation.json',
      (j) => JSON.parse(JSON.stringify(j).replaceAll('"RELATED"', '"LINKED"')) as unknown,
      /public\.\w+ writes relationships of type LINKED as well/,
    ],
    ['a reserved topic', 'entities/extract.json', (j) => ({ ...j, topic: 'eiq.control' }), /reserved/],
    [
      'a type for all other values that is one of theirs',
      'entities/entity_extract.json',
      (j) => JSON.parse(JSON.stringify(j).replaceAll('"LINKED"', '"OBSERVED"')) as unknown,
      /relationship\.type\.otherwise\.type: OBSERVED stands among the values/,
    ],
    [
      'an end without nodes',
      'entities/relation.json',
      (j) => ({
        ...j,
        relationship: { ...(j['relationship'] as object), to: { label: 'Nobody', column: 'target_id' } },
      }),
      /no table maps nodes \(:Nobody\)/,
    ],
    [
      'a type column outside the key',
      'entities/entity_extract.json',
      (j) => ({ ...j, key: { entity_id: 'uuid', extract_id: 'bigint' } }),
      /link_type must be part of the key/,
    ],
    [
      'neither node nor relationship',
      'entities/extract.json',
      (j) => ({ ...j, node: undefined }),
      /either "node" or "relationship"/,
    ],
    [
      'a label that could change a statement',
      'entities/extract.json',
      (j) => ({ ...j, node: { ...(j['node'] as object), label: 'X`) DETACH DELETE (n' } }),
      /node\.label: use letters/,
    ],
    [
      'an internal property',
      'entities/extract.json',
      (j) => ({ ...j, node: { label: 'Extract', properties: { _position: { column: 'id' } } } }),
      /node\.properties\._position/,
    ],
    [
      'a column used in two ways',
      'entities/extract.json',
      (j) => ({
        ...j,
        node: {
          label: 'Extract',
          properties: { a: { column: 'meta', path: ['x'] }, b: { column: 'meta', as: 'timestamp' } },
        },
      }),
      /column meta is used as timestamp here and as json/,
    ],
  ])('%s', (_, file, change, message) => {
    expect(problems(connectors({ [file]: change }))).toMatch(message);
  });
});
