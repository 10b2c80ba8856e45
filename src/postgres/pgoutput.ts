/**
 * Decoder for pgoutput, protocol version 1: raw bytes of one message → one typed message.
 *
 * Values stay PostgreSQL's own text: whatever turns a text into a number, a date or a double loses digits sooner or
 * later. A decoder remembers the relations that PostgreSQL announced before the rows that refer to them, so each
 * stream needs its own. Everything that is handed out is copied: pg reuses its receive buffer, so a slice of it
 * changes its content later.
 *
 * On failure: what is cut short, too long, unknown or contradictory is an AppError STREAM_PROTOCOL, which names the
 * kind of message and never its content. Nothing is guessed.
 *
 * Source: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 */
import { type Cell, type Column, type Relation, type Tuple, UNCHANGED } from '../core/change.ts';
import { AppError } from '../core/errors.ts';
import { type Lsn, lsn } from '../core/lsn.ts';

export interface Begin {
  readonly kind: 'begin';
  readonly commitLsn: Lsn;
  readonly commitTimeMicros: bigint;
  readonly xid: number;
}
export interface Commit {
  readonly kind: 'commit';
  readonly commitLsn: Lsn;
  /** Where the commit record ends: the LSN to acknowledge. */
  readonly endLsn: Lsn;
  readonly commitTimeMicros: bigint;
}
export interface Insert {
  readonly kind: 'insert';
  readonly relation: Relation;
  readonly after: Tuple;
}
/** `before` is whole under REPLICA IDENTITY FULL; else its identity columns and null elsewhere, if these changed. */
export interface Update {
  readonly kind: 'update';
  readonly relation: Relation;
  readonly before: Tuple | null;
  readonly after: Tuple;
}
export interface Delete {
  readonly kind: 'delete';
  readonly relation: Relation;
  readonly before: Tuple;
}
export interface Truncate {
  readonly kind: 'truncate';
  readonly relations: readonly Relation[];
}
export interface LogicalMessage {
  readonly kind: 'message';
  readonly transactional: boolean;
  readonly prefix: string;
  readonly content: Buffer;
}
export type PgoutputMessage =
  | Begin
  | Commit
  | { readonly kind: 'relation'; readonly relation: Relation }
  | { readonly kind: 'type'; readonly oid: number; readonly schema: string; readonly name: string }
  | { readonly kind: 'origin'; readonly lsn: Lsn; readonly name: string }
  | Insert
  | Update
  | Delete
  | Truncate
  | LogicalMessage;

/** Throws AppError STREAM_PROTOCOL. */
export type Decode = (bytes: Buffer) => PgoutputMessage;

const BEGIN = 0x42;
const COMMIT = 0x43;
const DELETE = 0x44;
const INSERT = 0x49;
const MESSAGE = 0x4d;
const ORIGIN = 0x4f;
const RELATION = 0x52;
const TRUNCATE = 0x54;
const TYPE = 0x59;
const UPDATE = 0x55;

const KEY_TUPLE = 0x4b;
const NEW_TUPLE = 0x4e;
const OLD_TUPLE = 0x4f;

const CELL_NULL = 0x6e;
const CELL_TEXT = 0x74;
const CELL_UNCHANGED = 0x75;

/** Of 2000-01-01, PostgreSQL's epoch, since 1970-01-01. */
export const POSTGRES_EPOCH_MICROS = 946_684_800_000_000n;

export function createDecoder(): Decode {
  const relations = new Map<number, Relation>();
  // The message at hand and how far it is read: shared by the readers below, since a cursor object per message costs.
  let bytes: Buffer = Buffer.alloc(0);
  let offset = 0;

  function decode(message: Buffer): PgoutputMessage {
    bytes = message;
    offset = 0;
    try {
      const decoded = readMessage(readByte());
      if (offset !== bytes.length) throw malformed('bytes are left over');
      return decoded;
    } catch (error) {
      // Node's own bounds check of the read functions.
      if (error instanceof RangeError) throw malformed('it ends too early', error);
      throw error;
    }
  }

  function readMessage(tag: number): PgoutputMessage {
    switch (tag) {
      case INSERT: {
        const relation = readRelationOid();
        if (readByte() !== NEW_TUPLE) throw malformed('an insert has no new row');
        return { kind: 'insert', relation, after: readTuple(relation) };
      }
      case UPDATE: {
        const relation = readRelationOid();
        let part = readByte();
        let before: Tuple | null = null;
        if (part !== NEW_TUPLE) {
          before = readOld(part, relation);
          part = readByte();
        }
        if (part !== NEW_TUPLE) throw malformed('an update has no new row');
        return { kind: 'update', relation, before, after: readTuple(relation) };
      }
      case DELETE: {
        const relation = readRelationOid();
        return { kind: 'delete', relation, before: readOld(readByte(), relation) };
      }
      case BEGIN:
        return {
          kind: 'begin',
          commitLsn: readLsn(),
          commitTimeMicros: readMicros(),
          xid: readUint32(),
        };
      case COMMIT:
        readByte(); // flags, unused
        return { kind: 'commit', commitLsn: readLsn(), endLsn: readLsn(), commitTimeMicros: readMicros() };
      case RELATION: {
        const relation = readRelation();
        relations.set(relation.oid, relation);
        return { kind: 'relation', relation };
      }
      case TYPE:
        return { kind: 'type', oid: readUint32(), schema: readName(), name: readName() };
      case ORIGIN:
        return { kind: 'origin', lsn: readLsn(), name: readName() };
      case TRUNCATE: {
        const count = readUint32();
        readByte(); // cascade, restart identity: PostgreSQL lists what a cascade reached
        if (count * 4 !== bytes.length - offset)
          throw malformed('a truncate lists other tables than it counts');
        return { kind: 'truncate', relations: Array.from({ length: count }, readRelationOid) };
      }
      case MESSAGE: {
        const transactional = (readByte() & 1) === 1;
        readLsn(); // equals the LSN of the frame around it
        const prefix = readName();
        const start = skip(readUint32());
        return {
          kind: 'message',
          transactional,
          prefix,
          content: Buffer.from(bytes.subarray(start, offset)),
        };
      }
      default:
        throw malformed('its tag is unknown');
    }
  }

  function readRelationOid(): Relation {
    const relation = relations.get(readUint32());
    if (relation === undefined) throw malformed('it refers to a relation that was not announced');
    return relation;
  }

  /** Whole rows come with REPLICA IDENTITY FULL, and only then: consumers tell the two apart by the relation. */
  function readOld(part: number, relation: Relation): Tuple {
    const whole = relation.replicaIdentity === 'f';
    if (part !== (whole ? OLD_TUPLE : KEY_TUPLE))
      throw malformed('its old row does not fit the replica identity');
    return readTuple(relation);
  }

  function readTuple(relation: Relation): Tuple {
    const count = readUint16();
    if (count !== relation.columns.length) throw malformed('a row has other columns than its relation');
    const cells = new Array<Cell>(count);
    for (let column = 0; column < count; column += 1) cells[column] = readCell();
    return cells;
  }

  function readCell(): Cell {
    switch (readByte()) {
      case CELL_TEXT: {
        const start = skip(readUint32());
        return bytes.toString('utf8', start, offset);
      }
      case CELL_NULL:
        return null;
      case CELL_UNCHANGED:
        return UNCHANGED;
      default:
        throw malformed('a cell is neither text, null nor unchanged');
    }
  }

  function readRelation(): Relation {
    const oid = readUint32();
    const schema = readName();
    const name = readName();
    const replicaIdentity = String.fromCharCode(readByte());
    if (!isReplicaIdentity(replicaIdentity)) throw malformed('a replica identity is unknown');
    return { oid, schema, name, replicaIdentity, columns: Array.from({ length: readUint16() }, readColumn) };
  }

  function readColumn(): Column {
    const identity = (readByte() & 1) === 1;
    return { identity, name: readName(), typeOid: readUint32(), typeModifier: readInt32() };
  }

  function readName(): string {
    const end = bytes.indexOf(0, offset);
    if (end === -1) throw malformed('a name does not end');
    const name = bytes.toString('utf8', offset, end);
    offset = end + 1;
    return name;
  }

  function readByte(): number {
    return bytes.readUInt8(skip(1));
  }

  function readUint16(): number {
    return bytes.readUInt16BE(skip(2));
  }

  function readUint32(): number {
    return bytes.readUInt32BE(skip(4));
  }

  function readInt32(): number {
    return bytes.readInt32BE(skip(4));
  }

  function readLsn(): Lsn {
    return lsn(bytes.readBigUInt64BE(skip(8)));
  }

  function readMicros(): bigint {
    return bytes.readBigInt64BE(skip(8)) + POSTGRES_EPOCH_MICROS;
  }

  /** Moves on by `length` and returns where that began. */
  function skip(length: number): number {
    const start = offset;
    offset += length;
    if (offset > bytes.length) throw malformed('it ends too early');
    return start;
  }

  function malformed(what: string, cause?: unknown): AppError {
    const tag = String.fromCharCode(bytes[0] ?? 0);
    return new AppError('STREAM_PROTOCOL', `PostgreSQL sent a message that cannot be read: ${what}.`, {
      cause,
      context: { tag, offset, length: bytes.length },
    });
  }

  return decode;
}

function isReplicaIdentity(letter: string): letter is Relation['replicaIdentity'] {
  return letter === 'd' || letter === 'n' || letter === 'f' || letter === 'i';
}
