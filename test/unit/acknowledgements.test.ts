import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAcknowledgements } from '../../src/core/acknowledgements.ts';
import { lsn, type Lsn } from '../../src/core/lsn.ts';

const end = (at: number) => ({ endLsn: lsn(BigInt(at)), commitLsn: lsn(BigInt(at - 1)), xid: at });
const safeAt = (at: number) => ({ lsn: BigInt(at), lastCommit: { commitLsn: BigInt(at - 1), xid: at } });

describe('acknowledgements', () => {
  it('a transaction is safe once its batch is durable', () => {
    const acks = createAcknowledgements();
    acks.opened(1);
    acks.ended(end(10));
    expect(acks.safe()).toBeNull();
    acks.durable(1);
    expect(acks.safe()).toEqual(safeAt(10));
  });

  it('a transaction without records is safe once all before it are', () => {
    const acks = createAcknowledgements();
    acks.ended(end(10));
    expect(acks.safe()).toEqual(safeAt(10));
    acks.opened(1);
    acks.ended(end(20));
    acks.ended(end(30));
    expect(acks.safe()).toEqual(safeAt(10));
    acks.durable(1);
    expect(acks.safe()).toEqual(safeAt(30));
  });

  it('a later batch does not make an earlier one safe', () => {
    const acks = createAcknowledgements();
    acks.opened(1);
    acks.ended(end(10));
    acks.opened(2);
    acks.ended(end(20));
    acks.durable(2);
    expect(acks.safe()).toBeNull();
    acks.durable(1);
    expect(acks.safe()).toEqual(safeAt(20));
  });

  it('a batch that cuts across transactions holds back the first, and not the one before it', () => {
    const acks = createAcknowledgements();
    acks.opened(1);
    acks.ended(end(10));
    acks.opened(2); // the rest of a transaction that began in batch 1, and all of the next
    acks.ended(end(20));
    acks.ended(end(30));
    acks.durable(1);
    expect(acks.safe()).toEqual(safeAt(10));
    acks.durable(2);
    expect(acks.safe()).toEqual(safeAt(30));
  });

  it('an open transaction is not safe, however durable its records are', () => {
    const acks = createAcknowledgements();
    acks.opened(1);
    acks.durable(1);
    expect(acks.safe()).toBeNull();
    acks.ended(end(10));
    expect(acks.safe()).toEqual(safeAt(10));
  });

  it('idle positions count when nothing is in flight, and never go back', () => {
    const acks = createAcknowledgements();
    acks.idle(lsn(5n));
    expect(acks.safe()).toEqual({ lsn: 5n, lastCommit: null });
    acks.opened(1);
    acks.ended(end(10));
    acks.idle(lsn(12n));
    expect(acks.safe()).toEqual({ lsn: 5n, lastCommit: null });
    acks.durable(1);
    expect(acks.safe()).toEqual(safeAt(10));
    acks.idle(lsn(9n));
    expect(acks.safe()).toEqual(safeAt(10));
    acks.idle(lsn(15n));
    expect(acks.safe()).toEqual({ ...safeAt(10), lsn: 15n });
  });

  it('refuses batches out of turn', () => {
    const acks = createAcknowledgements();
    acks.opened(2);
    expect(() => {
      acks.opened(2);
    }).toThrow(RangeError);
    expect(() => {
      acks.durable(1);
    }).toThrow(RangeError);
    acks.durable(2);
    expect(() => {
      acks.durable(2);
    }).toThrow(RangeError);
  });

  it('agrees with a model that knows each record, whatever the order of acknowledgements', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.constant({ do: 'record' as const }) },
      { weight: 2, arbitrary: fc.constant({ do: 'commit' as const }) },
      { weight: 2, arbitrary: fc.constant({ do: 'next batch' as const }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('durable' as const), which: fc.nat() }) },
      { weight: 1, arbitrary: fc.constant({ do: 'idle' as const }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const acks = createAcknowledgements();
        /** In the order of the stream; a record's batch is durable or not, the rest is nothing to wait for. */
        const stream: ({ batch: number } | { end: Lsn } | { idle: Lsn })[] = [];
        const inFlight = new Set<number>();
        let batch = 0;
        let isOpen = false;
        let position = 0n;
        for (const s of steps) {
          position += 1n;
          if (s.do === 'record') {
            if (!isOpen) acks.opened(++batch);
            isOpen = true;
            inFlight.add(batch);
            stream.push({ batch });
          } else if (s.do === 'commit') {
            acks.ended({ endLsn: lsn(position), commitLsn: lsn(position), xid: 1 });
            stream.push({ end: lsn(position) });
          } else if (s.do === 'next batch') {
            isOpen = false;
          } else if (s.do === 'durable') {
            const candidates = [...inFlight].filter((b) => b !== batch || !isOpen);
            const chosen = candidates[s.which % candidates.length];
            if (chosen === undefined) continue;
            inFlight.delete(chosen);
            acks.durable(chosen);
          } else if (stream.length === 0 || !('batch' in (stream.at(-1) ?? {}))) {
            // Between transactions. It counts only if nothing is in flight at this moment.
            acks.idle(lsn(position));
            if (inFlight.size === 0) stream.push({ idle: lsn(position) });
          }
          let expected: Lsn | null = null;
          for (const entry of stream) {
            if ('batch' in entry && inFlight.has(entry.batch)) break;
            if ('end' in entry) expected = entry.end;
            if ('idle' in entry) expected = entry.idle;
          }
          expect(acks.safe()?.lsn ?? null).toBe(expected);
          expect(acks.inFlight).toBe(inFlight.size);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
