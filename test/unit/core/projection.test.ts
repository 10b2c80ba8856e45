import { describe, expect, it } from 'vitest';
import { loadMapping } from '../../../src/config/connectors.ts';
import type { Op } from '../../../src/core/change.ts';
import type { DecodedChange } from '../../../src/core/envelope.ts';
import type { KeyedMutation } from '../../../src/core/graph.ts';
import { tableByName } from '../../../src/core/mapping.ts';
import type { Position } from '../../../src/core/position.ts';
import { coalesce, project } from '../../../src/core/projection.ts';

const mapping = loadMapping('connectors');
const at = '1700000000-0000000000000100-0000000000000080' as Position;
const base = { position: at, epoch: 1_700_000_000, session: 1, committedMs: 0 };
const entity = {
  id: '00000000-0000-0000-0000-000000000001',
  type: 'course-of-action',
  data: '{"id": "{x}coa-1", "name": "N", "title": null}',
  meta: '{"title": "T", "tlp_color": "RED"}',
  created_at: '2024-01-31T12:00:00.500000Z',
  last_updated_at: 'infinity',
};
const link = {
  entity_id: entity.id,
  extract_id: '9223372036854775807',
  link_type: 'sighted',
  created_at: 'infinity',
  last_updated_at: '1970-01-01T00:00:00.000001Z',
};

function of(table: string, record: Partial<DecodedChange>) {
  const target = tableByName(mapping, table);
  if (target === undefined) throw new Error(`no mapping of ${table}`);
  return project({ ...base, table, op: 'c', before: null, after: null, ...record }, target);
}

describe('a record is projected as', () => {
  it('a node with its label, lifted texts and integer times', () => {
    const { mutation, unlisted } = of('public.entity', { after: entity });
    expect(unlisted).toBeNull();
    expect(mutation).toEqual({
      kind: 'node-upsert',
      table: 'public.entity',
      position: at,
      key: entity.id,
      typeLabel: 'CourseOfAction',
      values: [
        '{x}coa-1',
        'course-of-action',
        'N',
        'RED',
        1_706_702_400_500_000n,
        9_223_372_036_854_775_807n,
        entity.data,
        entity.meta,
      ],
    });
  });

  it('a node with just its base label when its type is not listed, and says so', () => {
    const { mutation, unlisted } = of('public.entity', { after: { ...entity, type: 'weather' } });
    expect(mutation).toMatchObject({ typeLabel: null });
    expect(unlisted).toBe('type');
  });

  it.each([
    ['observed', 'OBSERVED', [1n], null],
    ['sighted', 'SIGHTED', [1n], null],
    ['rumoured', 'LINKED', [1n, 'rumoured'], 'link_type'],
  ])('a link %s of type %s', (link_type, type, values, column) => {
    const { mutation, unlisted } = of('public.entity_extract', { after: { ...link, link_type } });
    const key = `["${entity.id}","9223372036854775807","${link_type}"]`;
    expect(mutation).toMatchObject({
      kind: 'relationship-upsert',
      type,
      key,
      from: entity.id,
      to: 9_223_372_036_854_775_807n,
      values,
      thorough: false,
    });
    expect(unlisted).toBe(column);
  });

  it('a link that is to be looked for under all types, if it is one published again', () => {
    expect(of('public.entity_extract', { op: 'r', after: link }).mutation).toMatchObject({ thorough: true });
    expect(of('public.entity_extract', { op: 'u', after: link }).mutation).toMatchObject({ thorough: false });
  });

  it('the delete of what its key names', () => {
    const before = { entity_id: entity.id, extract_id: 5, link_type: 'observed' };
    const { mutation } = of('public.entity_extract', { op: 'd', before });
    expect(mutation).toMatchObject({
      kind: 'relationship-delete',
      type: 'OBSERVED',
      key: `["${entity.id}","5","observed"]`,
    });
    expect(of('public.extract', { op: 'd', before: { id: 5 } }).mutation).toMatchObject({
      kind: 'node-delete',
      key: 5n,
    });
  });
});

it.each<[string, Record<string, string>, string]>([
  ['public.extract', { id: '5x' }, '5x'],
  ['public.extract', { id: '9999999999999999999' }, '9999999999999999999'],
  ['public.entity_extract', { ...link, extract_id: 'x' }, `["${entity.id}","x","sighted"]`],
])('a delete from %s may name any id that a foreign node bears: %j', (table, before, key) => {
  expect(of(table, { op: 'd', before }).mutation).toMatchObject({ key });
});

describe('a record that does not fit is refused, naming table and column', () => {
  it.each<[string, Partial<DecodedChange>, RegExp]>([
    ['public.entity', { after: null }, /public\.entity has no row/],
    ['public.entity', { after: { ...entity, created_at: 'soon' } }, /created_at .* no timestamp/],
    ['public.entity', { after: { ...entity, id: 5 } }, /Column id .* no uuid/],
    ['public.extract', { after: { id: '5x' } }, /Column id .* no bigint/],
    ['public.entity_extract', { after: { entity_id: entity.id } }, /no column extract_id/],
  ])('%s %j', (table, record, message) => {
    expect(() => of(table, record)).toThrow(message);
  });

  it('also when it lies in the topic of another table', () => {
    expect(() => of('public.entity', { table: 'public.extract', after: entity })).toThrow(
      /is of public\.extract/,
    );
  });
});

describe('coalescing', () => {
  it('keeps the highest position of each key, the later of equals', () => {
    const upsert = (key: string, position: string, value: string): KeyedMutation => ({
      kind: 'node-upsert',
      table: 't',
      key,
      typeLabel: null,
      position: position as Position,
      values: [value],
    });
    const kept = coalesce([
      upsert('a', '1', 'a1'),
      upsert('b', '2', 'b2'),
      upsert('a', '3', 'a3'),
      upsert('a', '2', 'a2'),
      upsert('b', '2', 'again'),
    ]);
    expect(kept.map((m) => ('values' in m ? m.values[0] : ''))).toEqual(['a3', 'again']);
  });

  it.each<[string, readonly Op[], boolean]>([
    ['a row published again', ['r', 'u'], true],
    ['one that comes too late', ['u', 'r'], true],
    ['a delete', ['c', 'd', 'c'], true],
    ['nothing but changes', ['c', 'u', 'u'], false],
  ])('what stands for %s looks under all types, or does not', (_, ops, thorough) => {
    const before = { entity_id: entity.id, extract_id: link.extract_id, link_type: link.link_type };
    const mutations = ops.map((op, i) => {
      const row = op === 'd' ? { before } : { after: link };
      const moment = String(op === 'r' && i > 0 ? 0 : i + 1) as Position;
      return of('public.entity_extract', { op, ...row, position: moment }).mutation as KeyedMutation;
    });
    expect(coalesce(mutations)).toMatchObject([{ kind: 'relationship-upsert', thorough }]);
  });
});
