/** What the replication stream says happened, before it becomes a record: plain data, all values as PostgreSQL's text. */
import type { Lsn } from './lsn.ts';
import type { Position } from './position.ts';

/** c create, u update, d delete, r re-read (republish), t truncate: Debezium's letters. */
export type Op = 'c' | 'u' | 'd' | 'r' | 't';

/** A TOASTed value that the update did not touch: PostgreSQL does not send it. */
export const UNCHANGED: unique symbol = Symbol('unchanged TOAST');

/** A column's value as PostgreSQL writes it as text, under the stream's session settings (UTC, ISO, hex bytea). */
export type Cell = string | null | typeof UNCHANGED;
export type Tuple = readonly Cell[];

export interface Column {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  /** Part of the replica identity: with REPLICA IDENTITY FULL, every column. */
  readonly identity: boolean;
}

/** A table as it was at a point of the stream; a new object after each DDL. */
export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** d default, n nothing, f full, i index. */
  readonly replicaIdentity: 'd' | 'n' | 'f' | 'i';
  readonly columns: readonly Column[];
}

export interface TransactionInfo {
  readonly xid: number;
  readonly commitLsn: Lsn;
  /** Microseconds since the Unix epoch. */
  readonly commitTimeMicros: bigint;
}

interface ChangeBase {
  readonly position: Position;
  readonly ownLsn: Lsn;
  readonly transaction: TransactionInfo;
}

/**
 * A change of one row, or (r) the row as it was when a message asked for it. `before` is the whole old row under REPLICA IDENTITY FULL (`relation.replicaIdentity` is f);
 * else its identity columns with null elsewhere, or null when these did not change. No mapped cell is UNCHANGED.
 */
export interface RowChange extends ChangeBase {
  readonly op: 'c' | 'u' | 'd' | 'r';
  readonly relation: Relation;
  readonly before: Tuple | null;
  readonly after: Tuple | null;
}

export interface TruncateChange extends ChangeBase {
  readonly op: 't';
  readonly relations: readonly Relation[];
}

/** A transactional logical message, in line with the changes. */
export interface MessageChange extends ChangeBase {
  readonly op: 'm';
  readonly prefix: string;
  readonly content: Buffer;
}

export type Change = RowChange | TruncateChange | MessageChange;

/** `schema.name`: the name of a table in mappings, logs and records. */
export function tableName(relation: { readonly schema: string; readonly name: string }): string {
  return `${relation.schema}.${relation.name}`;
}
