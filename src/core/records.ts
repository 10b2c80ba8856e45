/** Change → records (design §8): which records a change becomes, in the order in which they must be written. */
import {
  type Change,
  type MessageChange,
  type Relation,
  type RowChange,
  type TransactionInfo,
  tableName,
} from './change.ts';
import {
  envelope,
  opening,
  openingKey,
  type Origin,
  rowEncoder,
  type RowEncoder,
  type SourceEncoder,
  sourceEncoder,
  truncateKey,
} from './envelope.ts';
import { AppError } from './errors.ts';
import { incompleteChange } from './incomplete.ts';
import { keyJson, type KeyParts } from './keys.ts';
import { LSN_ZERO } from './lsn.ts';
import type { Mapping, TableMapping } from './mapping.ts';
import { type Position, position } from './position.ts';

export interface DataRecord {
  readonly topic: string;
  /** Absent: by the hash of the key. */
  readonly partition?: number;
  readonly key: string;
  readonly value: string;
  readonly position: Position;
}

export interface RecordEncoder {
  /** Called with each relation as the stream announces it, before the changes that refer to it. */
  readonly announced: (relation: Relation) => void;
  /**
   * Records of a row change or truncate; none for a table that is not mapped, or for a message. An update that would be
   * too large with its old row goes without.
   */
  readonly encode: (change: Change, nowMs: number) => readonly DataRecord[];
  /** A delete at a message's position of a key that was asked for and has no row (I3). */
  readonly absent: (message: MessageChange, table: TableMapping, key: KeyParts, nowMs: number) => DataRecord;
}

/** Of a record's batch, beside key and value. */
const OVERHEAD_BYTES = 1024;

/** Most that `recordBytes` may be for the topic to take the record. */
export function maxRecordBytes({ source }: Mapping): number {
  return source.maxMessageBytes - OVERHEAD_BYTES;
}

export function recordBytes({ key, value }: Pick<DataRecord, 'key' | 'value'>): number {
  return Buffer.byteLength(value) + Buffer.byteLength(key);
}

/** Most records are told by their length: a UTF-16 unit has at most three bytes. */
function fits(record: DataRecord, mostBytes: number): boolean {
  return (record.value.length + record.key.length) * 3 <= mostBytes || recordBytes(record) <= mostBytes;
}

interface Table {
  readonly mapping: TableMapping;
  readonly rows: RowEncoder;
  /** Old rows carry the key: the replica identity holds it. */
  readonly identified: boolean;
}

export function recordEncoder(mapping: Mapping, origin: Origin): RecordEncoder {
  const byName = new Map(mapping.tables.map((table) => [table.table, table]));
  const mostBytes = maxRecordBytes(mapping);
  const versions = new WeakMap<Relation, Table | 'unmapped'>();
  /** By mapped table: partitions, by oid, whose updates may change the key without saying so. */
  const blind = new Map<TableMapping, Set<number>>();
  /** A table that was just announced, and what was announced behind it. */
  let latest: { readonly table: TableMapping; readonly behind: Relation[] } | null = null;
  let ofTransaction: { readonly transaction: TransactionInfo; readonly encode: SourceEncoder } | null = null;
  let ofChange: { readonly table: string; readonly position: Position; readonly source: string } | null =
    null;

  function tableOf(relation: Relation): Table | 'unmapped' {
    const known = versions.get(relation);
    if (known !== undefined) return known;
    const table = byName.get(tableName(relation));
    const version = table === undefined ? 'unmapped' : versionOf(relation, table);
    versions.set(relation, version);
    return version;
  }

  function announced(relation: Relation): void {
    const table = byName.get(tableName(relation));
    if (table !== undefined) latest = { table, behind: [] };
    else latest?.behind.push(relation);
  }

  /**
   * A partition is announced between its table and a row's change, with the replica identity that its rows are written
   * with; what is announced for a truncate of several tables need not be one.
   */
  function learnPartitions(change: Change): void {
    if (latest === null) return;
    const { table, behind } = latest;
    latest = null;
    if (change.op === 'm' || change.op === 't' || tableName(change.relation) !== table.table) return;
    const partitions = blind.get(table) ?? new Set();
    blind.set(table, partitions);
    for (const relation of behind) {
      if (isIdentified(relation, table)) partitions.delete(relation.oid);
      else partitions.add(relation.oid);
    }
  }

  /** Rows that answer a request all have its position. */
  function sourceOf(
    { transaction, position, ownLsn }: Change,
    { table, schema, name }: TableMapping,
  ): string {
    if (ofChange?.position === position && ofChange.table === table) return ofChange.source;
    if (ofTransaction?.transaction !== transaction)
      ofTransaction = { transaction, encode: sourceEncoder(origin, transaction) };
    const source = ofTransaction.encode(schema, name, position, ownLsn);
    ofChange = { table, position, source };
    return source;
  }

  function truncate(relation: Relation, change: Change, nowMs: number): DataRecord[] {
    const table = tableOf(relation);
    if (table === 'unmapped') return [];
    const { topic, table: name } = table.mapping;
    const value = envelope('t', null, null, sourceOf(change, table.mapping), nowMs);
    return inEachPartition(mapping, { topic, key: truncateKey(name), value, position: change.position });
  }

  function row(change: RowChange, nowMs: number): DataRecord[] {
    const table = tableOf(change.relation);
    if (table === 'unmapped') return [];
    const { rows } = table;
    const { topic } = table.mapping;
    const { before, after, position, op } = change;
    const source = sourceOf(change, table.mapping);
    const keySent = table.identified && (before !== null || !blind.get(table.mapping)?.size);
    if ((op === 'u' || op === 'd') && !keySent) throw keyNotSent(table.mapping);
    const created = (kind: 'c' | 'u' | 'r', key: string, old: string | null, now: string): DataRecord => {
      return { topic, key, value: envelope(kind, old, now, source, nowMs), position };
    };
    const deleted = (key: string): DataRecord => {
      return { topic, key, value: envelope('d', key, null, source, nowMs), position };
    };
    if (op === 'd' && before !== null) return [deleted(rows.key(before))];
    if (after === null)
      throw new AppError('STREAM_PROTOCOL', `A change of ${table.mapping.table} came without its row.`);
    const key = rows.key(after);
    if (op !== 'u' || before === null) return [created(op === 'd' ? 'c' : op, key, null, rows.row(after))];
    const oldKey = rows.key(before);
    if (oldKey !== key) return [deleted(oldKey), created('c', key, null, rows.row(after))];
    const now = rows.row(after);
    const whole = created('u', key, change.relation.replicaIdentity === 'f' ? rows.row(before) : null, now);
    return [fits(whole, mostBytes) ? whole : created('u', key, null, now)];
  }

  return {
    announced,
    encode(change, nowMs) {
      learnPartitions(change);
      if (change.op === 'm') return [];
      if (change.op === 't') return change.relations.flatMap((relation) => truncate(relation, change, nowMs));
      return row(change, nowMs);
    },
    absent(message, table, parts, nowMs) {
      const key = keyJson(table.key, parts);
      const value = envelope('d', key, null, sourceOf(message, table), nowMs);
      return { topic: table.topic, key, value, position: message.position };
    },
  };
}

/** A session's first record of every partition, below all that it will write of its epoch. */
export function openings(mapping: Mapping, origin: Origin, nowMs: number): DataRecord[] {
  const beginning = position(origin.epoch, LSN_ZERO, LSN_ZERO);
  const begun = { xid: 0, commitLsn: LSN_ZERO, commitTimeMicros: BigInt(nowMs) * 1000n };
  const source = sourceEncoder(origin, begun);
  return mapping.tables.flatMap(({ topic, schema, name }) => {
    const value = opening(source(schema, name, beginning, LSN_ZERO), nowMs);
    return inEachPartition(mapping, { topic, key: openingKey(origin.session), value, position: beginning });
  });
}

function inEachPartition({ source }: Mapping, record: DataRecord): DataRecord[] {
  return Array.from({ length: source.partitions }, (_, partition) => ({ ...record, partition }));
}

function versionOf(relation: Relation, mapping: TableMapping): Table {
  const keys = mapping.key.map(({ name }) => name);
  return { mapping, rows: rowEncoder(relation, keys), identified: isIdentified(relation, mapping) };
}

function isIdentified({ replicaIdentity, columns }: Relation, { key }: TableMapping): boolean {
  const identity = new Set(columns.filter((c) => c.identity).map((c) => c.name));
  return replicaIdentity === 'f' || key.every(({ name }) => identity.has(name));
}

function keyNotSent({ schema, name, key }: TableMapping): AppError {
  return incompleteChange({ schema, name }, `its old key (${key.map((column) => column.name).join(', ')})`);
}
