/**
 * What may be acknowledged to PostgreSQL (I9): a pure tracker between "received" and "durable in Kafka".
 *
 * Records go to Kafka in batches, which may cut across transactions and may become durable in any order. A transaction's
 * end is safe once every batch opened before it was reached is durable: all of its own records and those of all
 * transactions before it. So what is safe only grows, at transaction ends, without holes.
 *
 *     1 = open() … ended(A) … 2 = open() … ended(B)      durable(2) → nothing yet, durable(1) → B is safe
 *
 * Whatever else acknowledging has to wait for is opened like a batch. What waits for the stream itself, to bring what
 * an answer has seen or asked for, is durable once it has come so far: durableAt(n, lsn) … reached(lsn).
 *
 * An idle position says that PostgreSQL had nothing more for us up to there. It counts only when nothing is in
 * flight; otherwise it is forgotten, and PostgreSQL soon sends another.
 */
import { type Lsn, LSN_ZERO, maxLsn } from './lsn.ts';

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
  /** A batch begins to take records; its number. */
  open(): number;
  /** Every record of the batch is in Kafka. RangeError if it is not in flight. */
  durable(batch: number): void;
  /** As `durable`, once the stream has come to `lsn`; at once if it has. */
  durableAt(batch: number, lsn: Lsn): void;
  /** The stream has brought everything up to here. Whether that made something durable. */
  reached(lsn: Lsn): boolean;
  /** The furthest that the stream has to come to, for all that waits for it; zero: nothing does. */
  awaited(): Lsn;
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
  /** Of those in flight, what waits for the stream to come to an LSN. */
  const awaited = new Map<number, Lsn>();
  let opened = 0;
  let brought = LSN_ZERO;
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

  function durable(batch: number): void {
    if (!batches.delete(batch)) throw new RangeError('the batch is not in flight');
    awaited.delete(batch);
    settle();
  }

  return {
    open() {
      batches.add(++opened);
      return opened;
    },
    durable,
    durableAt(batch, lsn) {
      if (lsn <= brought) durable(batch);
      else awaited.set(batch, lsn);
    },
    reached(lsn) {
      brought = lsn;
      // At every commit, and mostly nothing waits.
      if (awaited.size === 0) return false;
      const come = [...awaited].filter(([, at]) => at <= lsn);
      for (const [batch] of come) durable(batch);
      return come.length > 0;
    },
    awaited: () => [...awaited.values()].reduce(maxLsn, LSN_ZERO),
    ended(transaction) {
      if (waiting.at(-1)?.batch === opened) waiting.pop();
      waiting.push({ batch: opened, end: transaction });
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
