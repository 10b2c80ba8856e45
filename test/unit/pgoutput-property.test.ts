import fc from 'fast-check';
import replication from 'pg-logical-replication';
import { describe, expect, it } from 'vitest';
import { type Relation, type Tuple, UNCHANGED } from '../../src/core/change.ts';
import { isAppError } from '../../src/core/errors.ts';
import { formatLsn } from '../../src/core/lsn.ts';
import { type PgoutputMessage, createDecoder } from '../../src/postgres/pgoutput.ts';
import { type EncodedCell, type EncodedRelation, UNSENT, encode } from '../support/pgoutput-encoder.ts';

/** Any text that PostgreSQL can hold. A leading U+FEFF is left out: the library's decoder swallows it, ours does not. */
const value = fc
  .string({ unit: 'binary', maxLength: 40 })
  .filter((text) => !text.includes('\0') && !text.startsWith('\uFEFF'));
const name = value.filter((text) => text !== '');
const lsn = fc.bigInt({ min: 1n, max: 0xffff_ffff_ffff_ffffn });
/** From 2000 on: the library reads what is before as if it were unsigned. */
const micros = fc.bigInt({ min: 946_684_800_000_000n, max: 2n ** 61n });
const oid = fc.integer({ min: 1, max: 2 ** 31 - 1 }); // the library reads them signed
/** Types for which the library leaves text alone. */
const typeOid = fc.constantFrom(25, 2950, 1700, 1043, 99_999);

const relation: fc.Arbitrary<EncodedRelation> = fc.record({
  oid,
  schema: name,
  name,
  replicaIdentity: fc.constantFrom('d', 'n', 'f', 'i'),
  columns: fc.uniqueArray(
    fc.record({ name, typeOid, typeModifier: fc.integer({ min: -1, max: 70_000 }), identity: fc.boolean() }),
    { selector: (column) => column.name, maxLength: 8 },
  ),
});

const message = relation.chain((of) => {
  const width = { minLength: of.columns.length, maxLength: of.columns.length };
  const cell: fc.Arbitrary<EncodedCell> = fc.oneof({ weight: 5, arbitrary: value }, fc.constant(null));
  const row = fc.array(cell, width);
  const updated = fc.array(fc.oneof({ weight: 5, arbitrary: cell }, fc.constant(UNSENT)), width);
  const letter = of.replicaIdentity === 'f' ? ('O' as const) : ('K' as const);
  const bytes = fc.oneof(
    fc.tuple(lsn, micros, fc.integer({ min: 0, max: 2 ** 32 - 1 })).map((args) => encode.begin(...args)),
    fc.tuple(lsn, lsn, micros).map((args) => encode.commit(...args)),
    fc.constant(encode.relation(of)),
    fc.tuple(oid, name, name).map((args) => encode.type(...args)),
    fc.tuple(lsn, name).map((args) => encode.origin(...args)),
    row.map((cells) => encode.insert(of.oid, cells)),
    fc
      .tuple(fc.option(row), updated)
      .map(([old, cells]) => encode.update(of.oid, old && [letter, old], cells)),
    row.map((cells) => encode.delete(of.oid, letter, cells)),
    fc
      .tuple(fc.integer({ min: 0, max: 4 }), fc.nat(3))
      .map(([n, flags]) => encode.truncate(Array(n).fill(of.oid), flags)),
    fc
      .tuple(fc.boolean(), lsn, name, fc.uint8Array({ maxLength: 50 }))
      .map(([transactional, at, prefix, content]) =>
        encode.message(transactional, at, prefix, Buffer.from(content)),
      ),
  );
  return fc.record({ relation: fc.constant(of), bytes });
});

describe('pgoutput decoder', () => {
  it('agrees with the parser of pg-logical-replication on every kind of message', () => {
    fc.assert(
      fc.property(message, ({ relation: of, bytes }) => {
        const theirs = new replication.PgoutputPlugin({ protoVersion: 1, publicationNames: [] });
        const ours = createDecoder();
        theirs.parse(encode.relation(of));
        ours(encode.relation(of));
        expect(inTheirWords(ours(bytes))).toEqual(normalized(theirs.parse(bytes)));
      }),
      { numRuns: 1000 },
    );
  });

  it('refuses every message that is cut short anywhere or goes on for longer', () => {
    fc.assert(
      fc.property(message, fc.nat(), ({ relation: of, bytes }, at) => {
        const decode = createDecoder();
        decode(encode.relation(of));
        expect(outcome(decode, bytes.subarray(0, at % bytes.length))).toBe('refused');
        expect(outcome(decode, Buffer.concat([bytes, Buffer.of(at % 256)]))).toBe('refused');
      }),
      { numRuns: 1000 },
    );
  });

  it('reads or refuses whatever bytes there are, and fails in no other way', () => {
    fc.assert(
      fc.property(message, fc.nat(), fc.nat(255), ({ relation: of, bytes }, at, byte) => {
        const decode = createDecoder();
        decode(encode.relation(of));
        const damaged = Buffer.from(bytes);
        damaged[at % damaged.length] = byte;
        expect(['read', 'refused']).toContain(outcome(decode, damaged));
      }),
      { numRuns: 1000 },
    );
  });
});

function outcome(decode: (bytes: Buffer) => unknown, bytes: Buffer): string {
  try {
    decode(bytes);
    return 'read';
  } catch (error) {
    return isAppError(error, 'STREAM_PROTOCOL') ? 'refused' : String(error);
  }
}

type Words = Record<string, unknown>;

/** What both say, in the library's shape. */
function inTheirWords(message: PgoutputMessage): Words {
  switch (message.kind) {
    case 'begin':
      return {
        tag: 'begin',
        xid: message.xid,
        lsn: padded(message.commitLsn),
        time: message.commitTimeMicros,
      };
    case 'commit': {
      const { commitLsn, endLsn, commitTimeMicros } = message;
      return { tag: 'commit', lsn: padded(commitLsn), end: padded(endLsn), time: commitTimeMicros };
    }
    case 'relation': {
      const { oid: relationOid, schema, name: relationName, replicaIdentity, columns } = message.relation;
      const identity = { d: 'default', n: 'nothing', f: 'full', i: 'index' }[replicaIdentity];
      const described = columns.map((c) => [c.name, c.typeOid, c.typeModifier, c.identity]);
      return { tag: 'relation', relationOid, schema, name: relationName, identity, columns: described };
    }
    case 'type':
      return { tag: 'type', oid: message.oid, schema: message.schema, name: message.name };
    case 'origin':
      return { tag: 'origin', lsn: padded(message.lsn), name: message.name };
    case 'insert':
      return { tag: 'insert', of: message.relation.oid, after: message.after.map(cellOf) };
    case 'update':
      return {
        tag: 'update',
        of: message.relation.oid,
        before: message.before === null ? null : old(message.relation, message.before),
        after: filled(message.before, message.after, message.relation.replicaIdentity === 'f'),
      };
    case 'delete':
      return { tag: 'delete', of: message.relation.oid, before: old(message.relation, message.before) };
    case 'truncate':
      return { tag: 'truncate', of: message.relations.map((r) => r.oid) };
    case 'message': {
      const { transactional, prefix, content } = message;
      return { tag: 'message', transactional, prefix, content: content.toString('hex') };
    }
  }
}

/** The library fills an unchanged value from the whole old row, and else leaves it undefined. */
function filled(before: Tuple | null, after: Tuple, whole: boolean): unknown[] {
  return after.map((cell, index) => (cell === UNCHANGED && whole ? before?.[index] : cellOf(cell)));
}

/** Of a key the library keeps the identity columns only, and takes their null for absent. */
function old({ replicaIdentity, columns }: Relation, before: Tuple): unknown[] {
  if (replicaIdentity === 'f') return before.map(cellOf);
  return columns.map((column, index) => (column.identity ? (before[index] ?? undefined) : undefined));
}

function cellOf(cell: Tuple[number]): string | null | undefined {
  return cell === UNCHANGED ? undefined : cell;
}

function padded(value: bigint): string {
  return formatLsn(value as never)
    .split('/')
    .map((half) => half.padStart(8, '0'))
    .join('/');
}

interface TheirRelation {
  readonly relationOid: number;
  readonly columns: readonly {
    readonly name: string;
    readonly flags: number;
    typeOid: number;
    typeMod: number;
  }[];
  readonly keyColumns: readonly string[];
}

/* eslint-disable @typescript-eslint/no-explicit-any, @typescript-eslint/no-unsafe-assignment,
   @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-call,
   @typescript-eslint/no-unsafe-return -- the library's messages have no types */
function normalized(m: any): Words {
  const row = (tuple: any) => m.relation.columns.map((c: { name: string }) => tuple[c.name]);
  const before = () => ((m.old ?? m.key) === null ? null : row(m.old ?? m.key));
  switch (m.tag) {
    case 'begin':
      return { tag: 'begin', xid: m.xid >>> 0, lsn: m.commitLsn, time: m.commitTime };
    case 'commit':
      return { tag: 'commit', lsn: m.commitLsn, end: m.commitEndLsn, time: m.commitTime };
    case 'relation': {
      const described = (m as TheirRelation).columns.map((c) => [
        c.name,
        c.typeOid,
        c.typeMod,
        (c.flags & 1) === 1,
      ]);
      const { relationOid, schema, replicaIdentity: identity } = m;
      return { tag: 'relation', relationOid, schema, name: m.name, identity, columns: described };
    }
    case 'type':
      return { tag: 'type', oid: m.typeOid, schema: m.typeSchema, name: m.typeName };
    case 'origin':
      return { tag: 'origin', lsn: m.originLsn, name: m.originName };
    case 'insert':
      return { tag: 'insert', of: m.relation.relationOid, after: row(m.new) };
    case 'update':
      return { tag: 'update', of: m.relation.relationOid, before: before(), after: row(m.new) };
    case 'delete':
      return { tag: 'delete', of: m.relation.relationOid, before: before() };
    case 'truncate':
      return { tag: 'truncate', of: m.relations.map((r: TheirRelation) => r.relationOid) };
    case 'message':
      return {
        tag: 'message',
        transactional: m.transactional,
        prefix: m.prefix,
        content: Buffer.from(m.content).toString('hex'),
      };
    default:
      throw new Error(`unexpected ${String(m.tag)}`);
  }
}
