import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAcknowledgements } from '../../src/core/acknowledgements.ts';
import { lsn, type Lsn } from '../../src/core/lsn.ts';

const end = (at: number) => ({ endLsn: lsn(BigInt(at)), commitLsn: lsn(BigInt(at - 1)), xid: at });
const safeAt = (at: number) => ({ lsn: BigInt(at), lastCommit: { commitLsn: BigInt(at - 1), xid: at } });

describe('acknowledgements', () => {
  it('a transaction is safe once its batch is durable', () => {
    const acks = createAcknowledgements();
    acks.open();
    acks.ended(end(10));
    expect(acks.safe()).toBeNull();
    acks.durable(1);
    expect(acks.safe()).toEqual(safeAt(10));
  });

  it('a transaction without records is safe once all before it are', () => {
    const acks = createAcknowledgements();
    acks.ended(end(10));
    expect(acks.safe()).toEqual(safeAt(10));
    acks.open();
    acks.ended(end(20));
    acks.ended(end(30));
    expect(acks.safe()).toEqual(safeAt(10));
    acks.durable(1);
    expect(acks.safe()).toEqual(safeAt(30));
  });

  it('a later batch does not make an earlier one safe', () => {
    const acks = createAcknowledgements();
    acks.open();
    acks.ended(end(10));
    acks.open();
    acks.ended(end(20));
    acks.durable(2);
    expect(acks.safe()).toBeNull();
    acks.durable(1);
    expect(acks.safe()).toEqual(safeAt(20));
  });

  it('a batch that cuts across transactions holds back the first, and not the one before it', () => {
    const acks = createAcknowledgements();
    acks.open();
    acks.ended(end(10));
    acks.open(); // the rest of a transaction that began in batch 1, and all of the next
    acks.ended(end(20));
    acks.ended(end(30));
    acks.durable(1);
    expect(acks.safe()).toEqual(safeAt(10));
    acks.durable(2);
    expect(acks.safe()).toEqual(safeAt(30));
  });

  it('an open transaction is not safe, however durable its records are', () => {
    const acks = createAcknowledgements();
    acks.open();
    acks.durable(1);
    expect(acks.safe()).toBeNull();
    acks.ended(end(10));
    expect(acks.safe()).toEqual(safeAt(10));
  });

  it('idle positions count when nothing is in flight, and never go back', () => {
    const acks = createAcknowledgements();
    acks.idle(lsn(5n));
    expect(acks.safe()).toEqual({ lsn: 5n, lastCommit: null });
    acks.open();
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

  it('refuses what is not in flight', () => {
    const acks = createAcknowledgements();
    const batch = acks.open();
    expect(() => {
      acks.durable(batch + 1);
    }).toThrow(RangeError);
    acks.durable(batch);
    expect(() => {
      acks.durable(batch);
    }).toThrow(RangeError);
  });

  it('what waits for the stream holds back what ends after it, until the stream has come so far', () => {
    const acks = createAcknowledgements();
    acks.durableAt(acks.open(), lsn(25n));
    acks.durableAt(acks.open(), lsn(22n));
    expect(acks.awaited()).toBe(25n);
    acks.ended(end(10));
    expect(acks.reached(lsn(10n))).toBe(false);
    acks.ended(end(22));
    expect(acks.reached(lsn(22n))).toBe(true);
    expect(acks.awaited()).toBe(25n);
    expect(acks.safe()).toBeNull();
    expect(acks.reached(lsn(24n))).toBe(false);
    expect(acks.reached(lsn(25n))).toBe(true);
    expect(acks.safe()).toEqual(safeAt(22));
    expect([acks.awaited(), acks.inFlight]).toEqual([0n, 0]);
    acks.durableAt(acks.open(), lsn(25n));
    acks.ended(end(30));
    expect(acks.safe()).toEqual(safeAt(30));
  });

  it('agrees with a model that knows each record, whatever the order of acknowledgements', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.constant({ do: 'record' as const }) },
      { weight: 2, arbitrary: fc.constant({ do: 'commit' as const }) },
      { weight: 2, arbitrary: fc.constant({ do: 'next batch' as const }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('durable' as const), which: fc.nat() }) },
      { weight: 1, arbitrary: fc.constant({ do: 'idle' as const }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), further: fc.nat(9) }) },
      { weight: 2, arbitrary: fc.constant({ do: 'reached' as const }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const acks = createAcknowledgements();
        /** In the order of the stream; a record's batch is durable or not, the rest is nothing to wait for. */
        const stream: ({ batch: number } | { end: Lsn } | { idle: Lsn })[] = [];
        const inFlight = new Set<number>();
        const waits = new Map<number, bigint>();
        let brought = 0n;
        let batch = 0;
        let isOpen = false;
        let position = 0n;
        for (const s of steps) {
          position += 1n;
          if (s.do === 'record') {
            if (!isOpen) batch = acks.open();
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
          } else if (s.do === 'wait') {
            isOpen = false;
            batch = acks.open();
            stream.push({ batch });
            const until = position + BigInt(s.further - 3);
            acks.durableAt(batch, lsn(until < 0n ? 0n : until));
            if (until > brought) waits.set(batch, until);
          } else if (s.do === 'reached') {
            brought = position;
            const before = waits.size;
            for (const [held, until] of waits) if (until <= brought) waits.delete(held);
            expect(acks.reached(lsn(position))).toBe(waits.size < before);
          } else if (stream.length === 0 || !('batch' in (stream.at(-1) ?? {}))) {
            // Between transactions. It counts only if nothing is in flight at this moment.
            acks.idle(lsn(position));
            if (inFlight.size + waits.size === 0) stream.push({ idle: lsn(position) });
          }
          let expected: Lsn | null = null;
          for (const entry of stream) {
            if ('batch' in entry && (inFlight.has(entry.batch) || waits.has(entry.batch))) break;
            if ('end' in entry) expected = entry.end;
            if ('idle' in entry) expected = entry.idle;
          }
          expect(acks.safe()?.lsn ?? null).toBe(expected);
          expect(acks.inFlight).toBe(inFlight.size + waits.size);
          expect(acks.awaited()).toBe([...waits.values()].reduce((most, at) => (at > most ? at : most), 0n));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
