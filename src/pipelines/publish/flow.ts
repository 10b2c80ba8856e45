/**
 * One session of the publisher, top to bottom:
 *
 *   stream ─▶ transactions (positions) ─▶ records ─▶ batch ─▶ Kafka ─▶ acknowledgement
 *
 * Guarantee (I9): PostgreSQL is told of an LSN only when every record of every transaction up to it is in Kafka, and
 * the control topic remembers that LSN. Records leave as they arrive, so a transaction of any size fits in memory.
 * A logical message is answered in line: the records that answer it have its position, and stand where it stood (I3).
 * What cannot be answered yet, or not at once, is asked for by a message further on.
 *
 * Nothing from an answer on is acknowledged before the stream has brought that message, and all that the answer may have
 * seen: what was read can still be lost, by a crash or by a standby that is promoted without it, and then the request
 * comes again. What the stream brings is on disk, and a synchronised standby has it. Meanwhile the stream goes on.
 *
 * On failure nothing more is sent; what had become durable before it is still acknowledged. The rest comes again from
 * the slot, and the projector's fences make the second time harmless.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { createAcknowledgements, type Safe } from '../../core/acknowledgements.ts';
import type { MessageChange, Relation, TransactionInfo } from '../../core/change.ts';
import type { AppError } from '../../core/errors.ts';
import { formatLsn, type Lsn, LSN_ZERO } from '../../core/lsn.ts';
import { type DataRecord, recordBytes, type RecordEncoder } from '../../core/records.ts';
import type { StreamEvent } from '../../postgres/stream.ts';
import type { TransactionEnd, Transactions } from '../../postgres/transactions.ts';
import { endedBy } from '../../runtime/retry.ts';
import { createAcknowledger } from './acknowledger.ts';
import { sourceChanged } from './prepare.ts';

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
  readonly answer: (message: MessageChange, signal: AbortSignal) => Promise<Answer>;
  /** Called with a message that is received, and soon to be answered. */
  readonly prepare: (message: Pick<MessageChange, 'prefix' | 'content'>, signal: AbortSignal) => void;
  /** Has the WAL flushed up to there, at least, since the stream brings no more; resolves to how far it is. */
  readonly flush: (upTo: Lsn) => Promise<Lsn>;
  /** Runs beside the flow until the signal; its failure is the flow's. */
  readonly beside: (signal: AbortSignal) => Promise<void>;
  /** Called for each transaction's end, before anything of it is known to be durable. */
  readonly onCommit?: (end: TransactionEnd) => void;
}

export interface Answer {
  readonly records: readonly DataRecord[];
  /** Up to where in the WAL, at most, is what they were made of. */
  readonly seen: Lsn;
  /** What is left of the request; null: nothing. */
  readonly again: {
    readonly afterMs: number;
    /** Emits a message that asks for it; to where in the WAL, at most, it has been emitted. */
    readonly emit: () => Promise<Lsn>;
  } | null;
}

const BATCH_RECORDS = 2000;
const BATCH_BYTES = 1_000_000;
const ACKNOWLEDGE_EVERY_MS = 50;
const IDLE_EVERY_MS = 1000;
/** What others commit flushes it too. */
const FLUSH_AFTER_MS = 25;
/** Messages that are being prepared, the one that is answered next among them. */
const PREPARED = 2;

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
  let current = 0;
  const asking = new Set<Promise<void>>();
  let flushed = LSN_ZERO;
  let flushing = false;
  const stopped = new AbortController();
  let sending: Promise<void> | null = null;
  let { overlap } = options;
  let idleOfferedAt = 0;

  /** Gathers the records; lets the batch go when it is full or would become too large for one request. */
  async function add(records: readonly DataRecord[]): Promise<void> {
    for (const record of records) {
      const size = recordBytes(record);
      if (batch.length >= BATCH_RECORDS || (batch.length > 0 && bytes + size > BATCH_BYTES)) {
        while (sending !== null) await sending;
        failure.signal.throwIfAborted();
        flush();
      }
      if (batch.length === 0) current = tracker.open();
      batch.push(size > options.maxRecordBytes ? options.deadLetter(record, size) : record);
      bytes += size;
    }
  }

  /** Sends what has gathered; when it is durable, what has gathered meanwhile follows without waiting for more. */
  function flush(): void {
    if (sending !== null || batch.length === 0 || failure.signal.aborted) return;
    const records = batch;
    const sent = current;
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

  async function answer(message: MessageChange): Promise<void> {
    flush(); // reading takes its time
    const { records, seen, again } = await options.answer(message, failure.signal);
    await add(records);
    tracker.durableAt(tracker.open(), seen);
    if (!flushing && tracker.awaited() > flushed) beside(flushAwaited());
    if (again !== null) beside(ask(again, tracker.open()));
  }

  function beside(work: Promise<void>): void {
    const done = work.catch(fail).finally(() => asking.delete(done));
    asking.add(done);
  }

  async function flushAwaited(): Promise<void> {
    const signal = AbortSignal.any([stopped.signal, failure.signal]);
    flushing = true;
    try {
      for (;;) {
        await delay(FLUSH_AFTER_MS, undefined, { signal }).catch(() => undefined);
        const upTo = tracker.awaited();
        if (signal.aborted || upTo <= flushed) return;
        flushed = await options.flush(upTo);
      }
    } finally {
      flushing = false;
    }
  }

  async function ask({ afterMs, emit }: NonNullable<Answer['again']>, held: number): Promise<void> {
    const signal = AbortSignal.any([stopped.signal, failure.signal]);
    if (afterMs > 0) await delay(afterMs, undefined, { signal }).catch(() => undefined);
    // The message was not acknowledged: it comes again by itself.
    if (signal.aborted) return;
    tracker.durableAt(held, await emit());
    offer();
  }

  async function drainSends(): Promise<void> {
    flush();
    while (sending !== null) await sending;
  }

  function offer(): void {
    // Until it is this history, what is recorded of the last one is the only proof that it is not.
    if (overlap !== null) return;
    const safe = tracker.safe();
    if (safe !== null) acknowledger.offer(safe);
  }

  function idle(lsn: Lsn): void {
    if (overlap !== null && lsn > overlap.lsn) throw lastCommitMissing(overlap.lsn);
    const released = tracker.reached(lsn);
    tracker.idle(lsn);
    const now = performance.now();
    if (!released && now - idleOfferedAt < IDLE_EVERY_MS) return;
    idleOfferedAt = now;
    offer();
  }

  /** Before anything of the transaction is sent: what the topics end with is proof, too. */
  function requireOverlap({ commitLsn, xid }: TransactionInfo): void {
    if (overlap === null || commitLsn < overlap.lsn) return;
    if (commitLsn !== overlap.lsn || xid !== overlap.xid) throw lastCommitMissing(overlap.lsn);
  }

  function commit(end: TransactionEnd): void {
    const { commitLsn, xid } = end.transaction;
    requireOverlap(end.transaction);
    if (commitLsn === overlap?.lsn) overlap = null;
    options.onCommit?.(end);
    tracker.ended({ endLsn: end.endLsn, commitLsn, xid });
    const released = tracker.reached(end.endLsn);
    if (released || tracker.inFlight === 0) offer();
  }

  function prepareNext(messages: Iterator<Message, void>): void {
    const { value } = messages.next();
    if (value !== undefined) options.prepare(value, failure.signal);
  }

  async function read(): Promise<void> {
    for await (const events of options.events) {
      failure.signal.throwIfAborted();
      const now = Date.now();
      const messages = messagesIn(events);
      for (let i = 0; i < PREPARED; i += 1) prepareNext(messages);
      for (const event of events) {
        if (event.type === 'message' && event.message.kind === 'relation')
          await options.checkRelation(event.message.relation);
        const next = transactions.push(event);
        if (next === null) continue;
        if (next.op === 'commit') {
          commit(next);
          continue;
        }
        if (next.op === 'idle') {
          idle(next.lsn);
          continue;
        }
        requireOverlap(next.transaction);
        if (next.op === 'm') {
          await answer(next);
          prepareNext(messages);
        } else await add(encoder.encode(next, now));
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
  const ended = new AbortController();
  const besides = options.beside(AbortSignal.any([ended.signal, failure.signal])).catch((error: unknown) => {
    if (!endedBy(ended.signal, error)) fail(error);
  });
  try {
    await Promise.race([read(), failed]);
  } finally {
    stopped.abort();
    await drainSends();
    await Promise.all(asking);
    ended.abort();
    await besides;
    if (!failure.signal.aborted) await acknowledger.drain();
  }
  failure.signal.throwIfAborted();
}

type Message = Pick<MessageChange, 'prefix' | 'content'>;

function* messagesIn(events: readonly StreamEvent[]): Generator<Message, void> {
  for (const event of events)
    if (event.type === 'message' && event.message.kind === 'message' && event.message.transactional)
      yield event.message;
}

function lastCommitMissing(at: Lsn): AppError {
  return sourceChanged(
    `the last published transaction, committed at ${formatLsn(at)}, is not in the WAL that the slot replays`,
  );
}
