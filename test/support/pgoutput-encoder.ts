/** Writes pgoutput messages as PostgreSQL does, from the protocol's documentation: what the decoder is held against. */
/** Written as the letter u: a TOASTed value that the update did not touch. */
export const UNSENT: unique symbol = Symbol('unsent');

export type EncodedCell = string | null | typeof UNSENT;

export interface EncodedColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  readonly identity: boolean;
}

export interface EncodedRelation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly replicaIdentity: 'd' | 'n' | 'f' | 'i';
  readonly columns: readonly EncodedColumn[];
}

type Row = readonly EncodedCell[];

export const encode = {
  begin: (commitLsn: bigint, micros: bigint, xid: number): Buffer =>
    bytes('B', int64(commitLsn), int64(micros - EPOCH), int32(xid)),
  commit: (commitLsn: bigint, endLsn: bigint, micros: bigint): Buffer =>
    bytes('C', int8(0), int64(commitLsn), int64(endLsn), int64(micros - EPOCH)),
  relation: ({ oid, schema, name, replicaIdentity, columns }: EncodedRelation): Buffer =>
    bytes(
      'R',
      int32(oid),
      text(schema),
      text(name),
      replicaIdentity,
      int16(columns.length),
      ...columns.map(column),
    ),
  type: (oid: number, schema: string, name: string): Buffer =>
    bytes('Y', int32(oid), text(schema), text(name)),
  origin: (lsn: bigint, name: string): Buffer => bytes('O', int64(lsn), text(name)),
  insert: (oid: number, row: Row): Buffer => bytes('I', int32(oid), 'N', tuple(row)),
  /** `old`: the letter K or O, and the row. */
  update: (oid: number, old: readonly ['K' | 'O', Row] | null, row: Row): Buffer =>
    bytes('U', int32(oid), ...(old === null ? [] : [old[0], tuple(old[1])]), 'N', tuple(row)),
  delete: (oid: number, letter: 'K' | 'O', row: Row): Buffer => bytes('D', int32(oid), letter, tuple(row)),
  truncate: (oids: readonly number[], flags = 0): Buffer =>
    bytes('T', int32(oids.length), int8(flags), ...oids.map(int32)),
  message: (transactional: boolean, lsn: bigint, prefix: string, content: Buffer): Buffer =>
    bytes('M', int8(transactional ? 1 : 0), int64(lsn), text(prefix), int32(content.length), content),
};

/** Microseconds from 1970 to 2000. */
const EPOCH = BigInt(Date.UTC(2000, 0, 1)) * 1000n;

function bytes(...parts: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));
}

function tuple(row: Row): Buffer {
  return bytes(int16(row.length), ...row.map(cell));
}

function cell(value: EncodedCell): Buffer {
  if (value === null) return bytes('n');
  if (value === UNSENT) return bytes('u');
  const content = Buffer.from(value, 'utf8');
  return bytes('t', int32(content.length), content);
}

function column({ name, typeOid, typeModifier, identity }: EncodedColumn): Buffer {
  return bytes(int8(identity ? 1 : 0), text(name), int32(typeOid), int32(typeModifier));
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`, 'utf8');
}

function int8(value: number): Buffer {
  return Buffer.of(value);
}

function int16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 255);
}

/** Signed or unsigned. */
function int32(value: number): Buffer {
  return Buffer.of((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

function int64(value: bigint): Buffer {
  const unsigned = BigInt.asUintN(64, value);
  return bytes(int32(Number(unsigned >> 32n)), int32(Number(unsigned & 0xffff_ffffn)));
}
