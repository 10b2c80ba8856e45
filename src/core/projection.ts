/** Record → graph mutation, by the mapping alone: pure, total, and the same for projecting, replaying and rebuilding. */
import type { DecodedChange, WireRow, WireValue } from './envelope.ts';
import { AppError } from './errors.ts';
import type { GraphValue, KeyedMutation, Mutation } from './graph.ts';
import { jsonTextAt } from './json-text.ts';
import { int64 } from './keys.ts';
import type { KeyKind, StoredAs } from './mapping-schema.ts';
import type { PropertyMapping, TableMapping } from './mapping.ts';
import { timestampMicros } from './values.ts';

export interface Projection {
  readonly mutation: Mutation;
  /** A value of the labels or type column that the mapping does not list: the column, to be counted and warned of. */
  readonly unlisted: string | null;
}

export type ProjectedRecord = Pick<DecodedChange, 'table' | 'op' | 'position' | 'before' | 'after'>;

/** Throws RECORD_MALFORMED, naming table and column, if the record does not have what the mapping needs. */
export function project(record: ProjectedRecord, table: TableMapping): Projection {
  if (record.table !== table.table) {
    throw new AppError(
      'RECORD_MALFORMED',
      `The record is of ${record.table}, its topic is that of ${table.table}.`,
    );
  }
  const { position, op } = record;
  const base = { table: table.table, position };
  if (op === 't') return { mutation: { kind: 'truncate', ...base }, unlisted: null };
  const row = op === 'd' ? record.before : record.after;
  if (row === null) throw new AppError('RECORD_MALFORMED', `A record of ${table.table} has no row.`);
  const key = op === 'd' ? deletedKey(row, table) : keyOf(row, table);
  const { target } = table;

  if (target.kind === 'node') {
    if (op === 'd') return { mutation: { kind: 'node-delete', ...base, key }, unlisted: null };
    const type = target.labels === null ? null : cell(row, target.labels.column, table);
    const typeLabel = target.labels?.byValue.get(String(type)) ?? null;
    const values = target.properties.map((property) => valueOf(row, property, table));
    const unlisted = target.labels !== null && typeLabel === null ? target.labels.column : null;
    return { mutation: { kind: 'node-upsert', ...base, key, typeLabel, values }, unlisted };
  }

  const { column, byValue, otherwise } = target.type;
  const listed = column === null ? otherwise : byValue.get(String(cell(row, column, table)));
  const variant = listed ?? otherwise;
  const unlisted = listed === undefined ? column : null;
  if (op === 'd')
    return { mutation: { kind: 'relationship-delete', ...base, key, type: variant.type }, unlisted };
  const from = keyValue(row, target.from.column, target.from.kind, table);
  const to = keyValue(row, target.to.column, target.to.kind, table);
  const values = variant.properties.map((property) => valueOf(row, property, table));
  return {
    mutation: {
      kind: 'relationship-upsert',
      ...base,
      key,
      type: variant.type,
      from,
      to,
      values,
      thorough: op === 'r',
    },
    unlisted,
  };
}

/** A single key column's own value; the JSON array of a composite key's values as text. */
function keyOf(row: WireRow, table: TableMapping): string | bigint {
  const [first, ...more] = table.key;
  if (first !== undefined && more.length === 0) return keyValue(row, first.name, first.kind, table);
  return JSON.stringify(table.key.map(({ name, kind }) => keyValue(row, name, kind, table).toString()));
}

/** As `keyOf`; but a foreign node may bear any id, and a delete names it as it is. */
function deletedKey(row: WireRow, table: TableMapping): string | bigint {
  const parts = table.key.map(({ name, kind }) => {
    const value = cell(row, name, table);
    return typeof value === 'string' && int64(value) === null ? value : keyValue(row, name, kind, table);
  });
  const [first, ...more] = parts;
  return first !== undefined && more.length === 0 ? first : JSON.stringify(parts.map(String));
}

/**
 * Keeps for each key only the mutation with the highest position, the later one among equals, in the order of their
 * keys' first appearance: the graph is a function of the last one (I7). An upsert is thorough if one of those that it
 * stands for would have looked under all types.
 */
export function coalesce(mutations: readonly KeyedMutation[]): KeyedMutation[] {
  const last = new Map<string, KeyedMutation>();
  for (const mutation of mutations) {
    const id = `${mutation.table}|${typeof mutation.key}|${mutation.key}`;
    const before = last.get(id);
    if (before === undefined) last.set(id, mutation);
    else if (before.position <= mutation.position) last.set(id, inPlaceOf(before, mutation));
    else last.set(id, inPlaceOf(mutation, before));
  }
  return [...last.values()];
}

function inPlaceOf(dropped: KeyedMutation, kept: KeyedMutation): KeyedMutation {
  if (kept.kind !== 'relationship-upsert' || kept.thorough) return kept;
  const thorough = dropped.kind === 'relationship-delete' || ('thorough' in dropped && dropped.thorough);
  return thorough ? { ...kept, thorough } : kept;
}

const BIGINT = /^-?\d{1,19}$/;

function keyValue(row: WireRow, column: string, kind: KeyKind, table: TableMapping): string | bigint {
  const value = cell(row, column, table);
  if (
    kind === 'bigint' &&
    (typeof value === 'number' || typeof value === 'string') &&
    BIGINT.test(String(value))
  ) {
    return BigInt(value);
  }
  if (kind !== 'bigint' && typeof value === 'string') return value;
  throw new AppError('RECORD_MALFORMED', `Column ${column} of a record of ${table.table} is no ${kind}.`);
}

function valueOf(row: WireRow, property: PropertyMapping, table: TableMapping): GraphValue {
  for (const { column, path, as } of property.from) {
    const value = cell(row, column, table);
    if (value === null) continue;
    const stored = path.length > 0 ? jsonTextAt(String(value), path) : convert(value, as);
    if (stored === undefined) {
      throw new AppError('RECORD_MALFORMED', `Column ${column} of a record of ${table.table} is no ${as}.`);
    }
    if (stored !== null) return stored;
  }
  return null;
}

/** Undefined if the value does not convert. */
function convert(value: Exclude<WireValue, null>, as: StoredAs): GraphValue | undefined {
  switch (as) {
    case 'text':
      return String(value);
    case 'boolean':
      return typeof value === 'boolean' ? value : undefined;
    case 'integer':
      return typeof value !== 'boolean' && BIGINT.test(String(value)) ? BigInt(value) : undefined;
    case 'timestamp':
      return timestampMicros(String(value)) ?? undefined;
  }
}

function cell(row: WireRow, column: string, table: TableMapping): WireValue {
  const value = Object.hasOwn(row, column) ? row[column] : undefined;
  if (value === undefined) {
    throw new AppError('RECORD_MALFORMED', `A record of ${table.table} has no column ${column}.`);
  }
  return value;
}
