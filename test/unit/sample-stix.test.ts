import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { bundleRows, readBundle } from '../../src/sample/stix-bundle.ts';

const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const times = { created: '2024-01-01T00:00:00.000Z', modified: '2024-02-01T00:00:00.5Z' };
const object = (type: string, n: number, members: object = {}): Record<string, unknown> => ({
  type,
  id: `${type}--${uuid(n)}`,
  ...times,
  ...members,
});

describe('a STIX bundle', () => {
  it.each([
    ['intrusion-set', 'threat-actor'],
    ['threat-actor', 'threat-actor'],
    ['attack-pattern', 'ttp'],
    ['malware', 'ttp'],
    ['tool', 'ttp'],
    ['course-of-action', 'course-of-action'],
    ['campaign', 'campaign'],
    ['indicator', 'indicator'],
    ['report', 'report'],
    ['identity', 'package'],
    ['sighting', 'package'],
    ['x-mitre-tactic', 'package'],
    ['constructor', 'package'],
  ])('has %s as %s', (stixType, type) => {
    const stix = object(stixType, 1, { name: 'N' });
    const { entities, malformed } = bundleRows([stix]);
    expect(malformed).toEqual([]);
    expect(entities).toEqual([
      {
        id: uuid(1),
        type,
        data: JSON.stringify(stix),
        meta: '{"origin":"stix"}',
        created_at: times.created,
        last_updated_at: times.modified,
      },
    ]);
  });

  it('has relationships as relations between the types of their ends', () => {
    const stix = object('relationship', 1, {
      relationship_type: 'uses',
      source_ref: `malware--${uuid(2).toUpperCase()}`,
      target_ref: `x-thing--${uuid(3)}`,
    });
    expect(bundleRows([stix]).relations).toEqual([
      {
        id: uuid(1),
        key: 'uses',
        subtype: null,
        source_id: uuid(2),
        source_type: 'ttp',
        target_id: uuid(3),
        target_type: 'package',
        data: JSON.stringify(stix),
        created_at: times.created,
        last_updated_at: times.modified,
      },
    ]);
  });

  it('gives the TLP colour of its own markings', () => {
    const marking = object('marking-definition', 9, { definition_type: 'tlp', definition: { tlp: 'amber' } });
    const marked = object('tool', 1, {
      object_marking_refs: [`marking-definition--${uuid(8)}`, marking['id']],
    });
    expect(bundleRows([marked, marking]).entities[0]?.meta).toBe('{"origin":"stix","tlp_color":"AMBER"}');
  });

  it.each([
    [{ created: undefined }, times.modified, times.modified],
    [{ modified: undefined }, times.created, times.created],
    [{ created: undefined, modified: undefined }, '1970-01-01T00:00:00Z', '1970-01-01T00:00:00Z'],
  ])('fills in for absent times: %o', (members, created_at, last_updated_at) => {
    const [row] = bundleRows([JSON.parse(JSON.stringify(object('tool', 1, members)))]).entities;
    expect(row).toMatchObject({ created_at, last_updated_at });
  });

  it('keeps the object modified last, of equals the last, whatever the precision of their times', () => {
    const version = (modified: string, name: string) => object('tool', 1, { modified, name });
    const { entities, superseded } = bundleRows([
      version('2024-02-01T00:00:00.5Z', 'older'),
      version('2024-02-01T00:00:00.51Z', 'kept'),
      version('2024-02-01T00:00:00.500001Z', 'late, but older'),
      { ...version('2024-02-01T00:00:00.510Z', 'equal and last'), id: `malware--${uuid(1)}` },
      object('relationship', 1, {
        relationship_type: 'uses',
        source_ref: `malware--${uuid(2)}`,
        target_ref: `tool--${uuid(3)}`,
      }),
    ]);
    expect(entities.map(({ data }) => (JSON.parse(data) as { name: string }).name)).toEqual([
      'equal and last',
    ]);
    expect(superseded).toBe(3);
  });

  it.each([
    [7, 'not an object'],
    [null, 'not an object'],
    [[], 'not an object'],
    [{}, 'id is not a text'],
    [{ id: `tool--${uuid(1)}` }, 'type is not a text'],
    [object('tool', 1, { id: 12 }), 'id is not a text'],
    [object('tool', 1, { id: uuid(1) }), 'id is not type--UUID'],
    [object('tool', 1, { id: `tool--${uuid(1)}0` }), 'id is not type--UUID'],
    [object('tool', 1, { created: 'yesterday' }), 'created is not a STIX timestamp'],
    [object('tool', 1, { modified: 1_700_000_000 }), 'modified is not a STIX timestamp'],
    [object('tool', 1, { modified: '2023-02-30T00:00:00Z' }), 'modified is not a STIX timestamp'],
    [object('tool', 1, { modified: '0000-01-01T00:00:00Z' }), 'modified is not a STIX timestamp'],
    [object('tool', 1, { modified: '2024-01-01T00:00:00+01:00' }), 'modified is not a STIX timestamp'],
    [object('tool', 1, { name: 'a\0b' }), 'a text that PostgreSQL cannot hold (NUL or half a character)'],
    [object('tool', 1, { name: '\\\ud800' }), 'a text that PostgreSQL cannot hold (NUL or half a character)'],
    [object('relationship', 1), 'source_ref is not a text'],
    [
      object('relationship', 1, {
        source_ref: `tool--${uuid(1)}`,
        target_ref: 'tool',
        relationship_type: 'uses',
      }),
      'target_ref is not type--UUID',
    ],
    [
      object('relationship', 1, { source_ref: `tool--${uuid(1)}`, target_ref: `tool--${uuid(2)}` }),
      'relationship_type is not a text',
    ],
  ])('leaves out %j: %s', (malformed, problem) => {
    const rows = bundleRows([object('tool', 4), malformed, object('tool', 5)]);
    expect(rows.malformed).toEqual([`object 1: ${problem}`]);
    expect(rows.entities.length + rows.relations.length).toBe(2);
  });

  it('takes texts that only look as if PostgreSQL could not hold them', () => {
    expect(bundleRows([object('tool', 1, { name: '\\u0000 \\\\ud800 🦊' })]).malformed).toEqual([]);
  });
});

describe('a bundle file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'stix-'));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const file = (content: string | Buffer): string => {
    const path = join(folder, 'bundle');
    writeFileSync(path, content);
    return path;
  };
  const bundle = JSON.stringify({
    type: 'bundle',
    id: `bundle--${uuid(1)}`,
    objects: [object('tool', 1), 3],
  });

  it('may be gzipped', async () => {
    const plain = await readBundle(file(bundle));
    expect(plain.entities).toHaveLength(1);
    expect(plain.malformed).toHaveLength(1);
    expect(await readBundle(file(gzipSync(bundle)))).toEqual(plain);
  });

  it.each([
    ['', 'is neither JSON nor gzipped JSON.'],
    ['{', 'is neither JSON nor gzipped JSON.'],
    [gzipSync(bundle).subarray(0, 40), 'is neither JSON nor gzipped JSON.'],
    ['[]', 'is not a STIX 2 bundle: an object of type "bundle" with a list of objects.'],
    ['{"type":"bundle"}', 'is not a STIX 2 bundle: an object of type "bundle" with a list of objects.'],
    [
      '{"type":"report","objects":[]}',
      'is not a STIX 2 bundle: an object of type "bundle" with a list of objects.',
    ],
  ])('must be one: %j', async (content, problem) => {
    const path = file(content);
    await expect(readBundle(path)).rejects.toMatchObject({ code: 'USAGE', message: `${path} ${problem}` });
  });

  it('must be there', async () => {
    const path = join(folder, 'absent');
    await expect(readBundle(path)).rejects.toMatchObject({
      code: 'USAGE',
      message: `${path} cannot be read.`,
    });
  });
});
