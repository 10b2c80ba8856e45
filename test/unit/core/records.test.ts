import { describe, expect, it } from 'vitest';
import { loadMapping } from '../../../src/config/connectors.ts';
import { type Cell, type Change, type Relation, UNCHANGED } from '../../../src/core/change.ts';
import { commitOf, type DecodedChange, decodeRecord } from '../../../src/core/envelope.ts';
import { parseLsn } from '../../../src/core/lsn.ts';
import { position } from '../../../src/core/position.ts';
import { type DataRecord, openings, recordEncoder } from '../../../src/core/records.ts';

const mapping = loadMapping('connectors');
const column = (name: string, typeOid: number) => ({ name, typeOid, typeModifier: -1, identity: true });
const extract: Relation = {
  oid: 1,
  schema: 'public',
  name: 'extract',
  replicaIdentity: 'f',
  columns: [
    column('id', 20),
    column('kind', 25),
    column('value', 25),
    column('meta', 3802),
    column('created_at', 1184),
    column('last_updated_at', 1184),
    column('__proto__', 25),
  ],
};
const row = (id: string, value: string) => [
  id,
  'ipv4',
  value,
  '{"a": 1.0}',
  'infinity',
  '2024-01-31 12:00:00.5+00',
  'p',
];
const transaction = {
  xid: 4_294_967_295,
  commitLsn: parseLsn('1/100'),
  commitTimeMicros: 1_700_000_000_123_456n,
};
const ownLsn = parseLsn('1/80');
const at = { position: position(1_700_000_000, transaction.commitLsn, ownLsn), ownLsn, transaction };
const origin = { name: 'eiq', database: 'platform', epoch: 1_700_000_000, session: 1_700_000_001 };

function encode(change: Change) {
  return recordEncoder(mapping, origin).encode(change, 1_700_000_001_000);
}

function changeOf(record: DataRecord | undefined): DecodedChange {
  const decoded = decodeRecord(Buffer.from(record?.value ?? ''));
  if (decoded.op === 'm') throw new TypeError('not a change');
  return decoded;
}

describe('a change becomes', () => {
  it('an update without its old row when the topic would not take both', () => {
    const { maxMessageBytes } = mapping.source;
    const half = 'é'.repeat(maxMessageBytes / 4);
    const update = (before: string, after: string) => {
      const [record] = encode({
        op: 'u',
        relation: extract,
        before: row('7', before),
        after: row('7', after),
        ...at,
      });
      const { before: old, after: now } = JSON.parse(record?.value ?? '') as Record<
        string,
        { value: string } | null
      >;
      return [old?.value, now?.value];
    };
    expect(update('x', 'y')).toEqual(['x', 'y']);
    expect(update(half, 'y')).toEqual([half, 'y']);
    expect(update(half, half)).toEqual([undefined, half]);
    expect(update('é'.repeat(maxMessageBytes / 2), 'y')).toEqual([undefined, 'y']);
  });

  it('one record with whole row, position and origin when a row is created', () => {
    const [record, ...more] = encode({
      op: 'c',
      relation: extract,
      before: null,
      after: row('7', 'x'),
      ...at,
    });
    expect(more).toEqual([]);
    expect(record?.topic).toBe('eiq.public.extract');
    expect(record?.key).toBe('{"id":7}');
    expect(JSON.parse(record?.value ?? '')).toEqual({
      before: null,
      after: JSON.parse(
        '{"id":7,"kind":"ipv4","value":"x","meta":"{\\"a\\": 1.0}","created_at":"infinity",' +
          '"last_updated_at":"2024-01-31T12:00:00.500000Z","__proto__":"p"}',
      ) as unknown,
      source: {
        version: '1',
        connector: 'postgresql',
        name: 'eiq',
        db: 'platform',
        schema: 'public',
        table: 'extract',
        snapshot: 'false',
        ts_ms: 1_700_000_000_123,
        txId: 4_294_967_295,
        xid: 4_294_967_295,
        lsn: '1/80',
        commitLsn: '1/100',
        epoch: 1_700_000_000,
        session: 1_700_000_001,
        position: '1700000000-0000000100000100-0000000100000080',
      },
      op: 'c',
      ts_ms: 1_700_000_001_000,
    });
  });

  it('one record with both rows when a row is updated', () => {
    const records = encode({
      op: 'u',
      relation: extract,
      before: row('7', 'x'),
      after: row('7', 'y'),
      ...at,
    });
    const decoded = records.map(changeOf);
    expect(decoded.map((d) => [d.op, d.before?.['value'], d.after?.['value']])).toEqual([['u', 'x', 'y']]);
  });

  it('a delete of the old key, then a create, when the key changes', () => {
    const records = encode({
      op: 'u',
      relation: extract,
      before: row('7', 'x'),
      after: row('8', 'x'),
      ...at,
    });
    const decoded = records.map((r) => [r.key, decodeRecord(Buffer.from(r.value))] as const);
    expect(decoded.map(([key, d]) => [key, d.op])).toEqual([
      ['{"id":7}', 'd'],
      ['{"id":8}', 'c'],
    ]);
  });

  it('one record with the key and a position, and no null, when a row is deleted', () => {
    const records = encode({ op: 'd', relation: extract, before: row('7', 'x'), after: null, ...at });
    expect(records).toHaveLength(1);
    const decoded = decodeRecord(Buffer.from(records[0]?.value ?? ''));
    expect(decoded).toMatchObject({ op: 'd', before: { id: 7 }, after: null, position: at.position });
    const { commitLsn: lsn, xid } = at.transaction;
    expect(commitOf(Buffer.from(records[0]?.value ?? ''))).toEqual({ epoch: origin.epoch, lsn, xid });
  });

  it('one record with the row as it is now when a message asked for it, and a delete where there is none', () => {
    const [read] = encode({ op: 'r', relation: extract, before: null, after: row('7', 'x'), ...at });
    expect(read?.key).toBe('{"id":7}');
    expect(decodeRecord(Buffer.from(read?.value ?? ''))).toMatchObject({
      op: 'r',
      before: null,
      after: { id: 7, value: 'x' },
      position: at.position,
    });
    const table = mapping.tables.find(({ name }) => name === 'extract');
    if (table === undefined) throw new RangeError('extract is not mapped');
    const message = { op: 'm' as const, prefix: 'graph.republish', content: Buffer.alloc(0), ...at };
    const absent = recordEncoder(mapping, origin).absent(message, table, ['x"'], 0);
    expect(absent).toMatchObject({ topic: 'eiq.public.extract', key: '{"id":"x\\""}' });
    expect(decodeRecord(Buffer.from(absent.value))).toMatchObject({
      op: 'd',
      before: { id: 'x"' },
      table: 'public.extract',
      position: at.position,
      session: origin.session,
    });
  });

  it('a record of its own in every partition when a table is truncated', () => {
    const records = encode({ op: 't', relations: [extract], ...at });
    expect(records.map((r) => [r.topic, r.partition, r.key])).toEqual(
      [0, 1, 2, 3].map((p) => ['eiq.public.extract', p, '{"$truncate":"public.extract"}']),
    );
  });

  it('nothing for a table that is not mapped', () => {
    const relation = { ...extract, name: 'other' };
    expect(encode({ op: 'c', relation, before: null, after: row('7', 'x'), ...at })).toEqual([]);
    expect(encode({ op: 't', relations: [relation], ...at })).toEqual([]);
  });

  it('a record without the value of an untouched column that is not mapped', () => {
    const after: Cell[] = [...row('7', 'x').slice(0, 6), UNCHANGED];
    const [record] = encode({ op: 'u', relation: extract, before: null, after, ...at });
    expect(changeOf(record).after).not.toHaveProperty(['__proto__'], 'p');
  });
});

it('a session begins in every partition, below all that it writes, and of no transaction', () => {
  const records = openings(mapping, origin, 1_700_000_001_000);
  expect(new Set(records.map(({ topic, partition }) => `${topic}-${partition ?? ''}`)).size).toBe(4 * 4);
  const value = Buffer.from(records[0]?.value ?? '');
  const { op, position: begun, epoch, session } = decodeRecord(value);
  expect({ op, epoch, session }).toEqual({ op: 'm', epoch: origin.epoch, session: origin.session });
  expect(begun < at.position).toBe(true);
  expect(begun > position(origin.epoch - 1, parseLsn('FFFFFFFF/FFFFFFFF'), ownLsn)).toBe(true);
  expect(commitOf(value)).toBeNull();
  // Compaction keeps it where it is, whatever sessions begin later.
  expect(records[0]?.key).not.toBe(openings(mapping, { ...origin, session: 1_700_000_002 }, 0)[0]?.key);
});

describe('a record is refused when', () => {
  const good = JSON.parse(
    encode({ op: 'c', relation: extract, before: null, after: row('7', 'x'), ...at })[0]?.value ?? '',
  ) as Record<string, Record<string, unknown>>;
  const bad = (change: object) => Buffer.from(JSON.stringify({ ...good, ...change }));
  const source = (change: object) => bad({ source: { ...good['source'], ...change } });

  it.each<[string, Buffer | null]>([
    ['value is null', null],
    ['not JSON', Buffer.from('{')],
    ['not an envelope', Buffer.from('[]')],
    ['its op', bad({ op: 'x' })],
    ['no source', bad({ source: null })],
    ['position', source({ position: 'latest' })],
    ['epoch', source({ epoch: 1 })],
    ['session', source({ session: '1' })],
    ['table', source({ table: null })],
    ['commit time', source({ ts_ms: -1 })],
    ['not a row', bad({ after: [1] })],
    ['nested', bad({ after: { id: {} } })],
  ])('%s', (what, value) => {
    expect(() => decodeRecord(value)).toThrow(what);
  });
});

describe('without the old key in the stream', () => {
  const keyless: Relation = {
    ...extract,
    replicaIdentity: 'i',
    columns: extract.columns.map((c) => ({ ...c, identity: c.name === 'value' })),
  };

  const gap = expect.objectContaining({
    code: 'SOURCE_CHANGED',
    message: expect.stringMatching(/public\.extract .*\(id\)/) as string,
  }) as Error;

  it.each(['u', 'd'] as const)('a change (%s) is a gap, naming the table', (op) => {
    const after = op === 'u' ? row('7', 'x') : null;
    const before = op === 'u' ? null : [null, null, 'x', null, null, null, null];
    expect(() => encode({ op, relation: keyless, before, after, ...at })).toThrow(gap);
  });

  it.each<['c' | 'u' | 'd', Cell[] | null, Cell[] | null]>([
    ['d', [null, null, 'x', null, null, null, null], null],
    ['u', [null, null, 'x', null, null, null, null], row('7', 'y')],
    ['c', null, [null, ...row('7', 'x').slice(1)]],
  ])(
    'a change (%s) that has null for it is never published, whatever its table announces',
    (op, before, after) => {
      expect(() => encode({ op, relation: extract, before, after, ...at })).toThrow(gap);
    },
  );

  describe('of a partition', () => {
    const partition = { ...keyless, oid: 2, name: 'extract_1' };
    const sound = { ...extract, oid: 2, name: 'extract_1' };
    const elsewhere = { ...keyless, oid: 3, name: 'other' };
    const insert = { op: 'c', relation: extract, before: null, after: row('7', 'x'), ...at } as const;
    const update = { op: 'u', relation: extract, before: null, after: row('7', 'x'), ...at } as const;

    const truncate = { op: 't', relations: [extract, elsewhere], ...at } as const;

    it.each<[string, readonly (Relation | 'change' | 'truncate')[], boolean]>([
      ['which is announced behind its table', [extract, partition, 'change'], true],
      ['which has had its replica identity meanwhile', [extract, partition, 'change', extract, sound], false],
      ['while another one has it', [extract, partition, 'change', extract, { ...sound, oid: 4 }], true],
      ['which is none: a change came between', [extract, 'change', elsewhere], false],
      ['which is none: both are truncated', [extract, elsewhere, 'truncate'], false],
      ['which has its replica identity', [extract, sound], false],
    ])('%s: an update without its old row', (_, announced, refused) => {
      const encoder = recordEncoder(mapping, origin);
      for (const each of announced) {
        if (each === 'change') encoder.encode(insert, 0);
        else if (each === 'truncate') encoder.encode(truncate, 0);
        else encoder.announced(each);
      }
      const encoded = () => encoder.encode(update, 0);
      if (refused) expect(encoded).toThrow(gap);
      else expect(encoded()).toHaveLength(1);
    });
  });

  it('a new row does not', () => {
    expect(encode({ op: 'c', relation: keyless, before: null, after: row('7', 'x'), ...at })).toHaveLength(1);
  });
});
