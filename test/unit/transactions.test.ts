import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Cell, type Relation, UNCHANGED } from '../../src/core/change.ts';
import { isAppError } from '../../src/core/errors.ts';
import { lsn, type Lsn } from '../../src/core/lsn.ts';
import { mappedRelations } from '../../src/core/mapped-tables.ts';
import type { PgoutputMessage } from '../../src/postgres/pgoutput.ts';
import type { StreamEvent } from '../../src/postgres/stream.ts';
import { createTransactions } from '../../src/postgres/transactions.ts';

const column = (name: string) => ({ name, typeOid: 25, typeModifier: -1, identity: true });
const relation: Relation = {
  oid: 1,
  schema: 'public',
  name: 'entity',
  replicaIdentity: 'f',
  columns: [column('id'), column('data'), column('note')],
};
const keyed: Relation = { ...relation, replicaIdentity: 'd' };

const at = (own: number, message: PgoutputMessage): StreamEvent => ({
  type: 'message',
  lsn: lsn(BigInt(own)),
  message,
  bytes: 0,
});
const begin = (commit: number, xid = 7) =>
  at(1, { kind: 'begin', commitLsn: lsn(BigInt(commit)), commitTimeMicros: 5n, xid });
const commit = (commitLsn: number, end: number) =>
  at(end, {
    kind: 'commit',
    commitLsn: lsn(BigInt(commitLsn)),
    endLsn: lsn(BigInt(end)),
    commitTimeMicros: 5n,
  });
const insert = (own: number, id = 'a') => at(own, { kind: 'insert', relation, after: [id, 'b', null] });
const update = (of: Relation, before: readonly Cell[] | null, after: readonly Cell[]) =>
  at(16, { kind: 'update', relation: of, before, after });
const message = (own: number, transactional: boolean) =>
  at(own, { kind: 'message', transactional, prefix: 'graph.marker', content: Buffer.from('x') });
const keepalive = (walEnd: number): StreamEvent => ({ type: 'keepalive', walEnd: lsn(BigInt(walEnd)) });

function start(isMapped = () => true) {
  return createTransactions({ epoch: 3, isMapped });
}

describe('transactions', () => {
  it('stamps changes with epoch, commit LSN and own LSN, and ends with the LSN to acknowledge', () => {
    const transactions = start();
    expect([begin(0x20), insert(0x11), commit(0x20, 0x28)].map(transactions.push)).toMatchObject([
      null,
      {
        op: 'c',
        position: '0000000003-0000000000000020-0000000000000011',
        ownLsn: 0x11n,
        before: null,
        after: ['a', 'b', null],
        transaction: { xid: 7, commitLsn: 0x20n, commitTimeMicros: 5n },
      },
      { op: 'commit', endLsn: 0x28n, transaction: { xid: 7, commitLsn: 0x20n, commitTimeMicros: 5n } },
    ]);
  });

  it('gives rows of one multi-insert the same position', () => {
    const transactions = start();
    const [, first, second] = [begin(0x20), insert(0x11, 'a'), insert(0x11, 'b')].map(transactions.push);
    expect(first).toMatchObject({ op: 'c' });
    expect(second).toMatchObject({ position: (first as { position: string }).position });
  });

  it('never lets a position go back within a transaction', () => {
    const transactions = start();
    const outputs = [begin(0x20), insert(0x12), insert(0x11)].map(transactions.push);
    expect(outputs).toMatchObject([null, { ownLsn: 0x12n }, { ownLsn: 0x12n }]);
  });

  it('passes deletes, truncates and transactional messages on in line', () => {
    const transactions = start();
    const outputs = [
      begin(0x20),
      at(0x11, { kind: 'delete', relation, before: ['a', 'b', 'c'] }),
      at(0x12, { kind: 'truncate', relations: [relation, keyed] }),
      message(0x13, true),
    ].map(transactions.push);
    expect(outputs).toMatchObject([
      null,
      { op: 'd', before: ['a', 'b', 'c'], after: null, ownLsn: 0x11n },
      { op: 't', relations: [relation, keyed], ownLsn: 0x12n },
      { op: 'm', prefix: 'graph.marker', content: Buffer.from('x'), ownLsn: 0x13n },
    ]);
  });

  it('counts and skips non-transactional messages, inside and outside of transactions', () => {
    const transactions = start();
    expect([message(1, false), begin(0x20), message(2, false)].map(transactions.push)).toEqual([
      null,
      null,
      null,
    ]);
    expect(transactions.skippedMessages).toBe(2);
  });

  it('yields idle positions between transactions only', () => {
    const transactions = start();
    const events = [keepalive(8), begin(0x20), keepalive(9), commit(0x20, 0x28), keepalive(0x30)];
    expect(events.map(transactions.push)).toMatchObject([
      { op: 'idle', lsn: 8n },
      null,
      null,
      { op: 'commit' },
      { op: 'idle', lsn: 0x30n },
    ]);
  });

  it('has nothing to say about relations, types and origins', () => {
    const transactions = start();
    const silent: PgoutputMessage[] = [
      { kind: 'relation', relation },
      { kind: 'type', oid: 1, schema: 's', name: 'n' },
      { kind: 'origin', lsn: lsn(1n), name: 'n' },
    ];
    expect(silent.map((m) => transactions.push(at(1, m)))).toEqual([null, null, null]);
  });

  describe('unchanged TOAST', () => {
    it('is filled from the old row', () => {
      const transactions = start();
      transactions.push(begin(0x20));
      expect(
        transactions.push(update(relation, ['a', 'large', 'too'], ['b', UNCHANGED, UNCHANGED])),
      ).toMatchObject({
        op: 'u',
        before: ['a', 'large', 'too'],
        after: ['b', 'large', 'too'],
      });
    });

    it.each<[string, Relation, readonly Cell[] | null]>([
      ['no old row', keyed, null],
      ['only a key', keyed, ['a', null, null]],
      ['no old row, of a partition', relation, null],
      ['only the key of a partition', relation, ['a', null, null]],
    ])('of a mapped column with %s is a gap, never null', (_, of, before) => {
      const transactions = start();
      transactions.push(begin(0x20));
      const push = () => transactions.push(update(of, before, ['b', UNCHANGED, 'c']));
      expect(push).toThrow(/public\.entity is in the WAL without a large value .*replica identity full/);
      expect(push).toThrow(expect.toSatisfy((e) => isAppError(e, 'SOURCE_CHANGED')) as Error);
    });

    it('of a column that is not mapped stays unknown', () => {
      const asked: string[] = [];
      const transactions = createTransactions({
        epoch: 3,
        isMapped: (of, name) => {
          asked.push(`${of.name}.${name}`);
          return false;
        },
      });
      transactions.push(begin(0x20));
      expect(transactions.push(update(keyed, null, ['a', UNCHANGED, 'c']))).toMatchObject({
        after: ['a', UNCHANGED, 'c'],
      });
      expect(asked).toEqual(['entity.data']);
    });
  });

  it('knows a mapped table by its oid, under whatever name it comes, and no other by its name', () => {
    const renamed = { ...relation, name: 'entity_v1' };
    const other = { ...relation, oid: 2 };
    const mapped = new Map([[1, { schema: 'public', name: 'entity' }]]);
    const asked: string[] = [];
    const transactions = createTransactions({
      epoch: 3,
      asMapped: mappedRelations(mapped),
      isMapped: (of, name) => asked.push(`${of.name}.${name}`) === 0,
    });
    const change = (own: number, of: Relation) =>
      transactions.push(at(own, { kind: 'delete', relation: of, before: ['a', 'b', null] }));
    transactions.push(begin(0x20));
    expect(
      transactions.push(update({ ...renamed, replicaIdentity: 'd' }, null, ['a', UNCHANGED, 'c'])),
    ).toMatchObject({
      relation: { name: 'entity' },
    });
    expect(asked).toEqual(['entity.data']);
    expect(change(0x17, relation)).toMatchObject({ op: 'd', relation });
    expect(change(0x18, renamed)).toMatchObject({ op: 'd', relation });
    expect(change(0x1a, other)).toBeNull();
    expect(transactions.push(at(0x1b, { kind: 'truncate', relations: [other, renamed] }))).toMatchObject({
      op: 't',
      relations: [relation],
    });
  });

  it.each<[string, StreamEvent[]]>([
    ['a change outside a transaction', [insert(1)]],
    ['a commit outside a transaction', [commit(0x20, 0x28)]],
    ['a truncate outside a transaction', [at(1, { kind: 'truncate', relations: [relation] })]],
    ['a transactional message outside a transaction', [message(1, true)]],
    ['a change after the commit', [begin(0x20), commit(0x20, 0x28), insert(1)]],
    ['a begin inside a transaction', [begin(0x20), begin(0x30)]],
    ['the commit of another transaction', [begin(0x20), commit(0x30, 0x38)]],
  ])('refuses %s', (_, events) => {
    const transactions = start();
    const last = events.pop();
    events.forEach(transactions.push);
    expect(() => last && transactions.push(last)).toThrow(
      expect.toSatisfy((error) => isAppError(error, 'STREAM_PROTOCOL')) as Error,
    );
  });

  it('orders positions as history: commits first, then own LSNs, however transactions interleave', () => {
    /** Transactions in commit order, each with own LSNs from anywhere before its commit. */
    const history = fc
      .uniqueArray(fc.bigInt({ min: 100n, max: 2n ** 64n - 1n }), { minLength: 1, maxLength: 6 })
      .map((commits) => commits.sort((a, b) => (a < b ? -1 : 1)))
      .chain((commits) =>
        fc.tuple(
          ...commits.map((commitLsn) =>
            fc.record({
              commitLsn: fc.constant(commitLsn),
              own: fc.uniqueArray(fc.bigInt({ min: 1n, max: commitLsn }), { maxLength: 6 }),
            }),
          ),
        ),
      );
    fc.assert(
      fc.property(history, (committed) => {
        const transactions = start();
        const positions: string[] = [];
        for (const { commitLsn, own } of committed as { commitLsn: Lsn; own: Lsn[] }[]) {
          const events = [
            at(1, { kind: 'begin', commitLsn, commitTimeMicros: 0n, xid: 1 }),
            ...own.sort((a, b) => (a < b ? -1 : 1)).map((o) => ({ ...insert(0), lsn: o }) as StreamEvent),
            at(1, { kind: 'commit', commitLsn, endLsn: commitLsn, commitTimeMicros: 0n }),
          ];
          for (const event of events) {
            const output = transactions.push(event);
            if (output?.op === 'c') positions.push(output.position);
          }
        }
        expect(positions).toEqual([...new Set(positions)].sort());
        expect(positions).toHaveLength(committed.flatMap(({ own }) => own).length);
      }),
    );
  });
});
