/**
 * One partition of one topic, from the lane of fetched records to the graph:
 *
 *   lane ─▶ plan (decode, judge, project) ─▶ set aside what cannot be applied ─▶ write with progress ─▶ commit
 *
 * Guarantee (I7, I8): records are applied in the order of the partition, each batch in one transaction with the
 * progress it makes; the next batch is planned while one is written. What is set aside is durable elsewhere first: a
 * dead letter, or a republish request. On failure: what may pass is tried again for as long as it takes; a record
 * that the graph refuses is found by bisection; a partition that another projector has taken over is left alone.
 */
import { AppError, dispositionOf } from '../../core/errors.ts';
import type { TableMapping } from '../../core/mapping.ts';
import { coalesce } from '../../core/projection.ts';
import type { ReaderState } from '../../core/partition-reader.ts';
import type { IncomingRecord, RecordBatch } from '../../kafka/subscriber.ts';
import type { ApplyResult, GraphWriter } from '../../neo4j/writer.ts';
import type { Log } from '../../runtime/log.ts';
import { mayRetry, retry } from '../../runtime/retry.ts';
import { type Item, type Plan, plan, type SetAside } from './window.ts';

export interface PartitionContext {
  readonly table: TableMapping;
  readonly partition: number;
  readonly writer: GraphWriter;
  /** Durable when resolved. */
  readonly deadLetter: (record: IncomingRecord, error: AppError) => Promise<void>;
  /** Durable when resolved: asks the publisher for the current row of each record's key. */
  readonly requestRepublish: (records: readonly IncomingRecord[], reason: string) => Promise<void>;
  /** For Kafka's own tools only: progress is in the graph. */
  readonly commit: (next: bigint) => void;
  readonly warnUnlisted: (column: string, count: number) => void;
  /** What became of records, once it is durable. */
  readonly onOutcome: (outcome: Partial<Outcome>) => void;
  readonly log: Log;
}

/** Numbers of records; of a batch that turns out to be applied by an earlier attempt there is just `records`. */
export interface Outcome {
  readonly records: number;
  readonly applied: number;
  /** Older than what the graph has, or than what follows in the same batch. */
  readonly older: number;
  /** Not applied, but asked for again. */
  readonly asked: number;
  /** Cannot be applied. */
  readonly failed: number;
}

/** How often a constraint failure beside a concurrent delete is tried again before the batch is taken apart. */
const CONSTRAINT_ATTEMPTS = 4;

export async function runPartition(
  lane: AsyncIterable<RecordBatch>,
  takenOver: { readonly next: bigint; readonly reader: ReaderState },
  context: PartitionContext,
  signal: AbortSignal,
): Promise<void> {
  const { table, partition, writer, log } = context;
  const batches = lane[Symbol.asyncIterator]();
  let reader = takenOver.reader;
  let from = takenOver.next;

  async function nextPlan(): Promise<{ planned: Plan; next: bigint } | null> {
    const batch = await batches.next();
    if (batch.done === true) return null;
    const planned = plan(batch.value.records, table, reader);
    reader = planned.reader;
    return { planned, next: batch.value.next };
  }

  async function write(planned: Plan, end: bigint): Promise<void> {
    await setAside(planned.aside);
    for (const [column, count] of planned.unlisted) context.warnUnlisted(column, count);
    for (const [i, step] of planned.steps.entries()) {
      const following = planned.steps[i + 1];
      const next = following === undefined ? end : offsetOf(following);
      // Also behind what was set aside since.
      const after = following === undefined ? planned.reader : readerAfter(step);
      if (step.kind === 'rows') await applyRows(step.items, next, after);
      else {
        const { position, table: name } = step.mutation;
        const { epoch, session } = after;
        const { committedMs } = step;
        await keepTrying(() =>
          writer.truncate({
            topic: table.topic,
            partition,
            from,
            next,
            table: name,
            position,
            epoch,
            session,
            committedMs,
          }),
        );
        from = next;
        context.onOutcome({ records: 1, applied: 1 });
      }
    }
    if (from < end) await apply([], end, planned.reader);
    context.commit(end);
  }

  async function setAside(aside: readonly SetAside[]): Promise<void> {
    const stale = aside.filter((a) => a.kind === 'stale').map((a) => a.record);
    for (const { record, error } of aside) if (error !== null) await park(record, error);
    if (stale.length === 0) return;
    await keepTrying(() => context.requestRepublish(stale, 'record of an older publisher session'));
    context.onOutcome({ records: stale.length, asked: stale.length });
    log.warn(
      { table: table.table, partition, records: stale.length },
      'refused records of an older publisher session; asked for their keys again',
    );
  }

  async function park(record: IncomingRecord, error: AppError): Promise<void> {
    await context.deadLetter(record, error);
    context.onOutcome({ records: 1, failed: 1 });
  }

  /** One transaction; `from` moves with it. */
  async function apply(
    items: readonly Item[],
    next: bigint,
    { position, epoch, session }: ReaderState,
  ): Promise<void> {
    const mutations = coalesce(items.map((item) => item.mutation));
    const committedMs = items.at(-1)?.committedMs ?? null;
    const batch = {
      topic: table.topic,
      partition,
      from,
      next,
      position,
      epoch,
      session,
      mutations,
      committedMs,
    };
    const { applied, refused, purged } = await keepTrying(() =>
      writer.apply(batch, (result) => askForPurged(items, result)),
    );
    from = next;
    const older = items.length - mutations.length + refused;
    context.onOutcome({ records: items.length, applied, older, asked: purged.length });
  }

  /** What a purged tombstone may have forbidden is asked for before the batch commits, so that it cannot be lost. */
  async function askForPurged(items: readonly Item[], { purged }: ApplyResult): Promise<void> {
    if (purged.length === 0) return;
    const keys = new Set(purged);
    const records = items.filter((item) => keys.has(item.mutation.key)).map((item) => item.record);
    await context.requestRepublish(records, 'older than the purged tombstones');
  }

  /** Halves what the graph refuses until a single record is left, and sets that aside. */
  async function applyRows(items: readonly Item[], next: bigint, after: ReaderState): Promise<void> {
    const [first] = items;
    if (first === undefined) return;
    try {
      await apply(items, next, after);
    } catch (error) {
      if (!(error instanceof AppError) || dispositionOf(error) !== 'dead-letter') throw error;
      if (items.length === 1) {
        await park(first.record, error);
        await apply([], next, after);
        return;
      }
      const middle = items.length >> 1;
      const [left, right] = [items.slice(0, middle), items.slice(middle)];
      await applyRows(left, right[0]?.record.offset ?? next, left.at(-1)?.reader ?? after);
      await applyRows(right, next, after);
    }
  }

  function keepTrying<T>(attempt: () => Promise<T>): Promise<T> {
    return retry(attempt, {
      signal,
      initialMs: 20,
      again: (error, n) =>
        error.code === 'NEO4J_CONSTRAINT'
          ? n < CONSTRAINT_ATTEMPTS
          : mayRetry(error) && error.code !== 'PROGRESS_LOST',
      onRetry(error, attempt, delayMs) {
        const level = attempt === 5 ? 'warn' : 'debug';
        log[level](
          { table: table.table, partition, attempt, delayMs, error },
          'the graph did not take a batch yet; trying again',
        );
      },
    });
  }

  for (let current = await nextPlan(); current !== null;) {
    const { planned, next } = current;
    [, current] = await Promise.all([write(planned, next), nextPlan()]);
  }
}

function readerAfter(step: Plan['steps'][number]): ReaderState {
  const reader = step.kind === 'truncate' ? step.reader : step.items.at(-1)?.reader;
  if (reader === undefined) throw new RangeError('a step has at least one record');
  return reader;
}

function offsetOf(step: Plan['steps'][number]): bigint {
  const record = step.kind === 'truncate' ? step.record : step.items[0]?.record;
  if (record === undefined) throw new RangeError('a step has at least one record');
  return record.offset;
}
