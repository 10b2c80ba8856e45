/**
 * What the comparison of the two sides can find of an entity, by its id and `last_updated_at` alone (sync-data). PostgreSQL
 * is right; equal timestamps are ok, and `different` only where content is compared as well.
 */
import type { CompareKeys } from './keys.ts';

export type Verdict = 'ok' | 'missing' | 'not_deleted' | 'outdated' | 'strange' | 'different';
export type Drift = Exclude<Verdict, 'ok'>;

/** One side's entity. `micros` null: the graph has no integer there. */
export interface Stamp {
  readonly id: string;
  /** `last_updated_at` as microseconds since the Unix epoch; null in PostgreSQL: NULL. */
  readonly micros: bigint | null;
}

export interface Pair {
  readonly id: string;
  readonly source: Stamp | null;
  readonly graph: Stamp | null;
}

/** Null: on neither side. */
export function verdictOf(source: Stamp | null, graph: Stamp | null): Verdict | null {
  if (source === null) return graph === null ? null : 'not_deleted';
  if (graph === null) return 'missing';
  if (graph.micros === source.micros) return 'ok';
  if (graph.micros === null || source.micros === null) return 'outdated';
  return graph.micros < source.micros ? 'outdated' : 'strange';
}

/** A range of ids, all that either side has of it, each side in the order of keys. */
export interface Sides {
  readonly source: AsyncIterable<readonly Stamp[]>;
  readonly graph: AsyncIterable<readonly Stamp[]>;
}

/**
 * Ranges that follow one another, each id once on a side; the answer has every id of either side, in that order, at most
 * `size` at a time. (A step of an async generator for each of a million pairs is a second of CPU.)
 */
export async function* mergeJoin(
  ranges: AsyncIterable<Sides>,
  size: number,
  compare: CompareKeys,
): AsyncGenerator<readonly Pair[]> {
  let pairs: Pair[] = [];
  for await (const { source, graph } of ranges) {
    const [left, right] = [cursor(source), cursor(graph)];
    try {
      let [a, b] = await Promise.all([left.next(), right.next()]);
      while (a !== null || b !== null) {
        const order = a === null ? 1 : b === null ? -1 : compare(a.id, b.id);
        const id = (order <= 0 ? a : b)?.id ?? '';
        pairs.push({ id, source: order <= 0 ? a : null, graph: order >= 0 ? b : null });
        if (pairs.length >= size) {
          yield pairs;
          pairs = [];
        }
        if (order <= 0) a = left.ready() ?? (await left.next());
        if (order >= 0) b = right.ready() ?? (await right.next());
      }
    } finally {
      await Promise.all([left.end(), right.end()]);
    }
  }
  if (pairs.length > 0) yield pairs;
}

function cursor(pages: AsyncIterable<readonly Stamp[]>) {
  const iterator = pages[Symbol.asyncIterator]();
  let page: readonly Stamp[] = [];
  let taken = 0;
  return {
    /** The next one of the page at hand, without waiting. */
    ready: (): Stamp | undefined => page[taken++],
    async next(): Promise<Stamp | null> {
      for (;;) {
        const result = await iterator.next();
        if (result.done === true) return null;
        page = result.value;
        taken = 0;
        const first = page[taken++];
        if (first !== undefined) return first;
      }
    },
    async end(): Promise<void> {
      await iterator.return?.();
    },
  };
}
