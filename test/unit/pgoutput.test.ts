import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { UNCHANGED } from '../../src/core/change.ts';
import { isAppError } from '../../src/core/errors.ts';
import { createDecoder } from '../../src/postgres/pgoutput.ts';
import { type EncodedRelation, encode, UNSENT } from '../support/pgoutput-encoder.ts';

const columns = [
  { name: 'id', typeOid: 2950, typeModifier: -1, identity: true },
  { name: 'data', typeOid: 3802, typeModifier: -1, identity: true },
];
const full: EncodedRelation = {
  oid: 4_000_000_000,
  schema: 'public',
  name: 'entity',
  replicaIdentity: 'f',
  columns,
};
const keyed: EncodedRelation = { ...full, oid: 17, name: 'keyed', replicaIdentity: 'd' };
const oid = full.oid;

function knowing(...relations: readonly EncodedRelation[]): ReturnType<typeof createDecoder> {
  const decode = createDecoder();
  for (const relation of relations) decode(encode.relation(relation));
  return decode;
}

function protocolError(read: () => unknown): boolean {
  try {
    read();
  } catch (error) {
    return isAppError(error, 'STREAM_PROTOCOL');
  }
  return false;
}

describe('pgoutput decoder', () => {
  it('reads begin with unsigned xid, commit LSN and microseconds', () => {
    expect(
      createDecoder()(encode.begin(0xffff_ffff_0000_0001n, 1_700_000_000_123_456n, 4_294_967_295)),
    ).toEqual({
      kind: 'begin',
      commitLsn: 0xffff_ffff_0000_0001n,
      commitTimeMicros: 1_700_000_000_123_456n,
      xid: 4_294_967_295,
    });
  });

  it('reads commit with the end of its record', () => {
    expect(createDecoder()(encode.commit(16n, 64n, -1n))).toEqual({
      kind: 'commit',
      commitLsn: 16n,
      endLsn: 64n,
      commitTimeMicros: -1n,
    });
  });

  it('keeps values as text, tells null, empty and unchanged apart', () => {
    const decode = knowing(full);
    expect(decode(encode.insert(oid, ['', null]))).toMatchObject({ kind: 'insert', after: ['', null] });
    expect(decode(encode.update(oid, null, ['12345678901234567890.12', UNSENT]))).toMatchObject({
      kind: 'update',
      before: null,
      after: ['12345678901234567890.12', UNCHANGED],
    });
  });

  it('reads the whole old row under REPLICA IDENTITY FULL and the key elsewhere', () => {
    const decode = knowing(full, keyed);
    expect(decode(encode.update(oid, ['O', ['a', 'b']], ['c', 'd']))).toMatchObject({ before: ['a', 'b'] });
    expect(decode(encode.delete(keyed.oid, 'K', ['a', null]))).toMatchObject({ before: ['a', null] });
  });

  it('refers to the relation as it was last announced', () => {
    const decode = knowing(full);
    const before = decode(encode.insert(oid, ['a', 'b']));
    decode(encode.relation({ ...full, columns: columns.slice(0, 1) }));
    const after = decode(encode.insert(oid, ['a']));
    expect(before).toMatchObject({ relation: { columns: [{ name: 'id' }, { name: 'data' }] } });
    expect(after).toMatchObject({ relation: { columns: [{ name: 'id' }] } });
  });

  it('hands out copies: the buffer may be overwritten afterwards', () => {
    const decode = knowing(full);
    const row = encode.insert(oid, ['id', 'x'.repeat(2_000_000)]);
    const message = encode.message(true, 1n, 'graph.marker', Buffer.from('content'));
    const decoded = [decode(row), decode(message)];
    row.fill(0);
    message.fill(0);
    expect(decoded).toMatchObject([
      { after: ['id', 'x'.repeat(2_000_000)] },
      { content: Buffer.from('content') },
    ]);
  });

  it.each([
    ['an unknown tag', Buffer.from('Z')],
    ['a tag of protocol version 2 (stream start)', Buffer.from('S\0\0\0\x01\x01', 'latin1')],
    ['nothing', Buffer.alloc(0)],
    ['a relation that was not announced', encode.insert(99, ['a', 'b'])],
    ['a row with fewer columns', encode.insert(oid, ['a'])],
    ['a row with more columns', encode.insert(oid, ['a', 'b', 'c'])],
    ['a key where the whole row is due', encode.delete(oid, 'K', ['a', null])],
    ['a whole row where the key is due', encode.delete(keyed.oid, 'O', ['a', null])],
    ['a binary cell', replace(encode.insert(oid, ['a', 'b']), 't', 'b')],
    [
      'a cell that is longer than its message',
      Buffer.concat([encode.insert(oid, ['a', 'b']).subarray(0, -1)]),
    ],
    ['an insert without a new row', replace(encode.insert(oid, ['a', 'b']), 'N', 'O')],
    ['an update of unknown parts', replace(encode.update(oid, null, ['a', 'b']), 'N', 'X')],
    ['an unknown replica identity', encode.relation({ ...full, replicaIdentity: 'x' as 'f' })],
    ['a truncate that lists fewer tables than it counts', encode.truncate([oid, oid]).subarray(0, -4)],
    ['a truncate that counts more tables than there can be', Buffer.from('T\xff\xff\xff\xff\0', 'latin1')],
    ['left-over bytes', Buffer.concat([encode.begin(1n, 1n, 1), Buffer.of(0)])],
    ['a name without end', Buffer.from('Y\0\0\0\x01public', 'latin1')],
  ])('refuses %s', (_, bytes) => {
    const decode = knowing(full, keyed);
    expect(protocolError(() => decode(bytes))).toBe(true);
  });

  it('never quotes a value in an error', () => {
    const decode = knowing(full);
    try {
      decode(Buffer.concat([encode.insert(oid, ['canary', 'canary']), Buffer.of(0)]));
      expect.unreachable();
    } catch (error) {
      expect(inspect(error)).toMatch(/left over/);
      expect(inspect(error)).not.toContain('canary');
    }
  });
});

function replace(bytes: Buffer, letter: string, by: string): Buffer {
  const copy = Buffer.from(bytes);
  copy.write(by, copy.indexOf(letter, 5), 'latin1');
  return copy;
}
