/**
 * What may be acknowledged to PostgreSQL (I9): a pure tracker between "received" and "durable in Kafka".
 *
 * Records go to Kafka in numbered batches, which may cut across transactions and may become durable in any order.
 * A transaction's end is safe once every batch opened before it was reached is durable: all of its own records and
 * those of all transactions before it. So what is safe only grows, at transaction ends, without holes.
 *
 *     opened(1) … ended(A) … opened(2) … ended(B)      durable(2) → nothing yet, durable(1) → B is safe
 *
 * An idle position says that PostgreSQL had nothing more for us up to there. It counts only when nothing is in
 * flight; otherwise it is forgotten, and PostgreSQL soon sends another.
 */
import type { Lsn } from './lsn.ts';

export interface EndOfTransaction {
  readonly endLsn: Lsn;
  readonly commitLsn: Lsn;
  readonly xid: number;
}

export interface Safe {
  /** To be acknowledged: a transaction's end, or an idle position behind it. */
  readonly lsn: Lsn;
  /** The last transaction up to there; null before the first one of this stream. */
  readonly lastCommit: { readonly commitLsn: Lsn; readonly xid: number } | null;
}

export interface Acknowledgements {
  /** A batch begins to take records. Numbers ascend; RangeError otherwise. */
  opened(batch: number): void;
  /** Every record of the batch is in Kafka. RangeError if it is not in flight. */
  durable(batch: number): void;
  /** The stream has reached the end of a transaction: all its records are in batches opened before. */
  ended(transaction: EndOfTransaction): void;
  /** The stream is between transactions and PostgreSQL has read up to here. */
  idle(lsn: Lsn): void;
  /** null: nothing has become safe in this stream yet. The same object until something more is safe. */
  safe(): Safe | null;
  readonly inFlight: number;
}

interface Waiting {
  /** The last batch opened before it. */
  readonly batch: number;
  readonly end: EndOfTransaction;
}

export function createAcknowledgements(): Acknowledgements {
  /** In flight, in order of opening. */
  const batches = new Set<number>();
  /** Ends not yet safe, oldest first; of several ends behind the same batch only the last is kept. */
  const waiting: Waiting[] = [];
  let lastOpened = -1;
  let safe: Safe | null = null;

  function settle(): void {
    const [oldestInFlight = Infinity] = batches;
    let settled = 0;
    while ((waiting[settled]?.batch ?? Infinity) < oldestInFlight) settled += 1;
    const last = waiting.splice(0, settled).at(-1);
    if (last !== undefined) {
      const { endLsn, commitLsn, xid } = last.end;
      safe = { lsn: endLsn, lastCommit: { commitLsn, xid } };
    }
  }

  return {
    opened(batch) {
      if (batch <= lastOpened) throw new RangeError('batch numbers ascend');
      batches.add(batch);
      lastOpened = batch;
    },
    durable(batch) {
      if (!batches.delete(batch)) throw new RangeError('the batch is not in flight');
      settle();
    },
    ended(transaction) {
      if (waiting.at(-1)?.batch === lastOpened) waiting.pop();
      waiting.push({ batch: lastOpened, end: transaction });
      settle();
    },
    idle(lsn) {
      if (batches.size > 0 || (safe !== null && lsn <= safe.lsn)) return;
      safe = { lsn, lastCommit: safe?.lastCommit ?? null };
    },
    safe: () => safe,
    get inFlight() {
      return batches.size;
    },
  };
}
