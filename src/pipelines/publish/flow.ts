/**
 * One session of the publisher, top to bottom:
 *
 *   stream ─▶ transactions (positions) ─▶ records ─▶ batch ─▶ Kafka ─▶ acknowledgement
 *
 * Guarantee (I9): PostgreSQL is told of an LSN only when every record of every transaction up to it is in Kafka, and
 * the control topic remembers that LSN. Records leave as they arrive, so a transaction of any size fits in memory.
 * On failure nothing more is sent; what had become durable before it is still acknowledged. The rest comes again from
 * the slot, and the projector's fences make the second time harmless.
 */
import { createAcknowledgements, type Safe } from '../../core/acknowledgements.ts';
import type { Change, Relation } from '../../core/change.ts';
import { AppError } from '../../core/errors.ts';
import { formatLsn, type Lsn } from '../../core/lsn.ts';
import type { DataRecord, RecordEncoder } from '../../core/records.ts';
import type { StreamEvent } from '../../postgres/stream.ts';
import type { TransactionEnd, Transactions } from '../../postgres/transactions.ts';
import { createAcknowledger } from './acknowledger.ts';

export interface FlowOptions {
  readonly events: AsyncIterable<readonly StreamEvent[]>;
  readonly transactions: Transactions;
  readonly encoder: RecordEncoder;
  /** Durable in Kafka when resolved. Called with one batch at a time. */
  readonly send: (records: readonly DataRecord[]) => Promise<void>;
  /** What to write in place of a record that the broker would refuse for its size. */
  readonly deadLetter: (record: DataRecord, bytes: number) => DataRecord;
  readonly maxRecordBytes: number;
  /** Remembers in the control topic what is about to be acknowledged; durable when resolved. */
  readonly record: (safe: Safe) => Promise<void>;
  readonly acknowledge: (lsn: Lsn) => void;
  /** The last commit of the previous session, if the slot is to replay it (I6). */
  readonly overlap: { readonly lsn: Lsn; readonly xid: number } | null;
  /** Called with each version of a table before its rows; throws if the mapping does not fit it. */
  readonly checkRelation: (relation: Relation) => Promise<void>;
  readonly onMessage: (change: Change & { readonly op: 'm' }) => void;
  /** Called for each transaction's end, before anything of it is known to be durable. */
  readonly onCommit?: (end: TransactionEnd) => void;
}

const BATCH_RECORDS = 2000;
const BATCH_BYTES = 1_000_000;
const ACKNOWLEDGE_EVERY_MS = 50;
const IDLE_EVERY_MS = 1000;

/** Resolves when the events end and everything is acknowledged; rejects with the first failure. */
export async function runFlow(options: FlowOptions): Promise<void> {
  const { transactions, encoder, send } = options;
  const tracker = createAcknowledgements();
  const failure = new AbortController();
  const fail = (error: unknown) => {
    failure.abort(error);
  };
  const acknowledger = createAcknowledger({ ...options, intervalMs: ACKNOWLEDGE_EVERY_MS, onFailure: fail });

  let batch: DataRecord[] = [];
  let bytes = 0;
  let number = 0;
  let sending: Promise<void> | null = null;
  let { overlap } = options;
  let idleOfferedAt = 0;

  /** Gathers the record; first lets the batch go if it is full or would become too large for one request. */
  async function add(record: DataRecord): Promise<void> {
    const size = Buffer.byteLength(record.value) + Buffer.byteLength(record.key);
    const accepted = size > options.maxRecordBytes ? options.deadLetter(record, size) : record;
    if (batch.length >= BATCH_RECORDS || (batch.length > 0 && bytes + size > BATCH_BYTES)) {
      while (sending !== null) await sending;
      failure.signal.throwIfAborted();
      flush();
    }
    if (batch.length === 0) tracker.opened(number);
    batch.push(accepted);
    bytes += size;
  }

  /** Sends what has gathered; when it is durable, what has gathered meanwhile follows without waiting for more. */
  function flush(): void {
    if (sending !== null || batch.length === 0 || failure.signal.aborted) return;
    const records = batch;
    const sent = number++;
    batch = [];
    bytes = 0;
    sending = send(records)
      .then(() => {
        tracker.durable(sent);
        offer();
      })
      .catch(fail)
      .finally(() => {
        sending = null;
        flush();
      });
  }

  async function drainSends(): Promise<void> {
    flush();
    while (sending !== null) await sending;
  }

  function offer(): void {
    const safe = tracker.safe();
    if (safe !== null) acknowledger.offer(safe);
  }

  function idle(lsn: Lsn): void {
    tracker.idle(lsn);
    const now = performance.now();
    if (now - idleOfferedAt < IDLE_EVERY_MS) return;
    idleOfferedAt = now;
    offer();
  }

  function commit(end: TransactionEnd): void {
    const { commitLsn, xid } = end.transaction;
    if (overlap !== null && commitLsn >= overlap.lsn) {
      if (commitLsn !== overlap.lsn || xid !== overlap.xid) throw lastCommitMissing(overlap.lsn);
      overlap = null;
    }
    options.onCommit?.(end);
    tracker.ended({ endLsn: end.endLsn, commitLsn, xid });
    if (tracker.inFlight === 0) offer();
  }

  async function read(): Promise<void> {
    for await (const events of options.events) {
      failure.signal.throwIfAborted();
      const now = Date.now();
      for (const event of events) {
        if (event.type === 'message' && event.message.kind === 'relation')
          await options.checkRelation(event.message.relation);
        const next = transactions.push(event);
        if (next === null) continue;
        if (next.op === 'commit') commit(next);
        else if (next.op === 'idle') idle(next.lsn);
        else if (next.op === 'm') options.onMessage(next);
        else for (const record of encoder.encode(next, now)) await add(record);
      }
      flush();
    }
  }

  // A failed send must end a read that waits for the next event: the one who gave the events listens to `failure`.
  const failed = new Promise<never>((_, reject) => {
    failure.signal.addEventListener('abort', () => {
      reject(failure.signal.reason as Error);
    });
  });
  try {
    await Promise.race([read(), failed]);
  } finally {
    await drainSends();
    if (!failure.signal.aborted) await acknowledger.drain();
  }
  failure.signal.throwIfAborted();
}

function lastCommitMissing(at: Lsn): AppError {
  return new AppError(
    'SOURCE_CHANGED',
    `The last published transaction, committed at ${formatLsn(at)}, is not in the WAL that the slot replays: ` +
      'this is not the history that was recorded.',
  );
}
