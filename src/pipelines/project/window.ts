/**
 * A batch of a partition's records, decided before the graph is asked: what to apply, in which pieces, and what to
 * set aside. Pure: the same records and reader state give the same plan.
 */
import { AppError, isAppError } from '../../core/errors.ts';
import { decodeRecord } from '../../core/envelope.ts';
import type { KeyedMutation, Truncate } from '../../core/graph.ts';
import type { TableMapping } from '../../core/mapping.ts';
import { advance, judge, type ReaderState } from '../../core/partition-reader.ts';
import { project } from '../../core/projection.ts';
import type { IncomingRecord } from '../../kafka/subscriber.ts';

/** A record whose mutation is to be applied, with the reader's state after it. */
export interface Item {
  readonly record: IncomingRecord;
  readonly mutation: KeyedMutation;
  readonly reader: ReaderState;
  readonly committedMs: number;
}

export interface Rows {
  readonly kind: 'rows';
  readonly items: readonly Item[];
}

export interface TruncateStep {
  readonly kind: 'truncate';
  readonly mutation: Truncate;
  readonly record: IncomingRecord;
  readonly reader: ReaderState;
  readonly committedMs: number;
}

/** Never applied: a malformed record, or one of an older session (asked for again by its key). */
export interface SetAside {
  readonly kind: 'malformed' | 'stale';
  readonly record: IncomingRecord;
  readonly error: AppError | null;
}

export interface Plan {
  readonly steps: readonly (Rows | TruncateStep)[];
  readonly aside: readonly SetAside[];
  readonly reader: ReaderState;
  /** Values that the mapping does not list, by column. */
  readonly unlisted: ReadonlyMap<string, number>;
}

/** Throws EPOCH_BELOW for a record of an older source than the graph's. */
export function plan(records: readonly IncomingRecord[], table: TableMapping, from: ReaderState): Plan {
  const steps: (Rows | TruncateStep)[] = [];
  const aside: SetAside[] = [];
  const unlisted = new Map<string, number>();
  let items: Item[] = [];
  let reader = from;

  for (const record of records) {
    try {
      const decoded = decodeRecord(record.value);
      const verdict = judge(decoded, reader);
      if (verdict === 'epoch-below') throw epochBelow(table, record);
      if (decoded.op === 'm') {
        reader = advance(reader, decoded);
        continue;
      }
      if (verdict === 'stale' && decoded.op === 't') throw staleTruncate(table);
      if (verdict === 'stale') {
        aside.push({ kind: 'stale', record, error: null });
        continue;
      }
      reader = advance(reader, decoded);
      const { mutation, unlisted: column } = project(decoded, table);
      if (column !== null) unlisted.set(column, (unlisted.get(column) ?? 0) + 1);
      if (mutation.kind !== 'truncate') {
        items.push({ record, mutation, reader, committedMs: decoded.committedMs });
        continue;
      }
      if (items.length > 0) steps.push({ kind: 'rows', items });
      items = [];
      steps.push({ kind: 'truncate', mutation, record, reader, committedMs: decoded.committedMs });
    } catch (error) {
      if (!isAppError(error, 'RECORD_MALFORMED')) throw error;
      aside.push({ kind: 'malformed', record, error });
    }
  }
  if (items.length > 0) steps.push({ kind: 'rows', items });
  return { steps, aside, reader, unlisted };
}

/** It has no key to ask for: the truncate of the newer session stands in the topic as well, but may be compacted away. */
function staleTruncate(table: TableMapping): AppError {
  return new AppError(
    'RECORD_MALFORMED',
    `A truncate of ${table.table} was written by a publisher that had lost the slot.`,
  );
}

function epochBelow(table: TableMapping, record: IncomingRecord): AppError {
  return new AppError(
    'EPOCH_BELOW',
    `A record of ${table.table} at offset ${record.offset} belongs to an older source than what the graph already holds.`,
    { context: { topic: table.topic, offset: record.offset } },
  );
}
