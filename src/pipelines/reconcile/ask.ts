/**
 * How a repair speaks (I1, I2): it asks the stream for rows by their keys, and looks until the graph has the answer. (One
 * without the stream writes instead: direct.ts.)
 *
 * A request that the publisher could not serve yet comes again behind our marker: a repair is complete only when the
 * graph, read again, equals PostgreSQL. Requests are durable: what is left may still be mended after that.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { batchesOf } from '../../core/batches.ts';
import { isAppError } from '../../core/errors.ts';
import type { KeyParts } from '../../core/keys.ts';
import type { TableMapping } from '../../core/mapping.ts';
import { askable } from '../../core/messages.ts';
import { keyRequests } from '../../core/republish.ts';
import type { Sql } from '../../postgres/client.ts';
import { requestRepublish } from '../../postgres/messages.ts';
import { piecesOf } from './at-once.ts';
import { type Comparing, type Confirming, type Positioned, reached, type Versioned } from './confirm.ts';
import { pairsOf } from './scan.ts';

/** Gets a table's rows right in the graph, by their keys; keys without a row go. */
export type Mend = (table: TableMapping, keys: readonly KeyParts[], signal: AbortSignal) => Promise<void>;

export interface Asking extends Pick<Confirming, 'caughtUp' | 'maxWaitMs'> {
  /** Throws TIMED_OUT if the graph does not follow. */
  readonly mend: Mend;
  /** Of the run: what it asks for is not answered in time, so that nothing more is asked for. */
  readonly stream: { stopped: boolean };
  /** After so many keys more are repaired, or left. */
  readonly onMended?: (keys: number) => void;
}

/** Those that still differ after a repair. */
export interface Left {
  readonly count: number;
  /** The first few of them. */
  readonly some: readonly string[];
  /** How many of them were not even asked for. */
  readonly unasked: number;
}

export const NOTHING_LEFT: Left = { count: 0, some: [], unasked: 0 };
/** Of what is asked for at once. */
const AT_ONCE = 1000;
const UNPACED = 4;
const NAMED = 10;
const LOOK_AGAIN_MS = 100;

export function both(one: Left, other: Left): Left {
  return {
    count: one.count + other.count,
    some: [...one.some, ...other.some].slice(0, NAMED),
    unasked: one.unasked + other.unasked,
  };
}

/**
 * Mends batch by batch. A batch that the graph does not answer in time is the last one: more would only queue up.
 * `mend` throws TIMED_OUT for as much; `differing` resolves to those of the batch that are not mended.
 */
export async function mendInBatches<T>(
  items: AsyncIterable<T>,
  { stream, onMended }: Pick<Asking, 'stream' | 'onMended'>,
  named: (item: T) => string,
  mendBatch: (batch: readonly T[]) => Promise<readonly string[]>,
): Promise<Left> {
  let left = NOTHING_LEFT;
  for await (const batch of batchesOf(items, AT_ONCE)) {
    const asked = !stream.stopped;
    const differ = asked ? await mendBatch(batch) : batch.map(named);
    left = both(left, { count: differ.length, some: differ, unasked: asked ? 0 : differ.length });
    onMended?.(batch.length);
  }
  return left;
}

/**
 * Durable when resolved, not yet answered. `pace` lets the stream catch up between a few requests, so that changes do
 * not wait behind those of an entity that everything is related to; it throws TIMED_OUT if that does not come about.
 */
export function byRequest(
  sql: Sql,
  runId: string,
  pace: (() => Promise<void>) | null,
  reason = 'sync-data',
): Mend {
  let asked = 0;
  return async (table, keys, signal) => {
    for (const request of keyRequests(table, keys.filter(askable), { runId, reason })) {
      if (asked > 0 && asked % UNPACED === 0) await pace?.();
      await requestRepublish(sql, request, signal);
      asked += 1;
    }
  };
}

/** Asks for the keys by `ask`, and resolves to those of `ids` that still differ when the graph has caught up, or time is up. */
export async function mended<S extends Versioned, G extends Positioned>(
  ids: readonly string[],
  ask: () => Promise<void>,
  comparing: Comparing<S, G>,
  asking: Asking,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { stream, maxWaitMs } = asking;
  try {
    await ask();
  } catch (error) {
    if (!isAppError(error, 'TIMED_OUT')) throw error;
    stream.stopped = true;
    return ids;
  }
  const deadline = performance.now() + maxWaitMs;
  for (let open = ids; ;) {
    const differ: string[] = [];
    for await (const piece of piecesOf(open, comparing.source, signal))
      differ.push(...(await stillDiffering(piece, comparing, asking, signal)));
    open = differ;
    if (open.length === 0 || stream.stopped || performance.now() > deadline) return open;
    await delay(LOOK_AGAIN_MS, undefined, { signal });
  }
}

/** Looks once; not for long where the graph has not caught up with what was looked at before. */
async function stillDiffering<S extends Versioned, G extends Positioned>(
  ids: readonly string[],
  { source, graph, verdict }: Comparing<S, G>,
  asking: Asking,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { stream, maxWaitMs } = asking;
  const before = await source.byIds(ids, signal);
  // A deadline of its own: to read what is large takes time too, which is not the stream's.
  if (!(await reached(asking, performance.now() + (stream.stopped ? 0 : maxWaitMs)))) stream.stopped = true;
  const pairs = pairsOf(ids, before, await graph.byIds(ids));
  // As in `confirm`: what equals either reading differs from the other by a change on its way.
  const after = new Map((await source.byIds(ids, signal)).map((row) => [row.id, row]));
  const differs = (row: S | null, found: G | null) => !['ok', null].includes(verdict(row, found));
  return pairs
    .filter((pair) => differs(pair.source, pair.graph) && differs(after.get(pair.id) ?? null, pair.graph))
    .map(({ id }) => id);
}
