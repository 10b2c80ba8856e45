/**
 * The comparison of sync-data (design §6.1): every candidate of either side, in the order of keys.
 *
 *   all:       pages of PostgreSQL ─┐
 *                                   ├─▶ merge join ─▶ pairs
 *              pages of the graph ──┘
 *   filtered:  candidate ids of either side ─▶ merge join ─▶ the whole of both sides, by id ─▶ pairs
 *
 * The filter chooses candidates on either side, but what is compared is the whole: else an entity that is outdated in
 * the graph, and so not recent there, would seem to be missing.
 */
import type { ScanStart } from '../../core/check-spool.ts';
import { compareIds, mergeJoin, type Pair, type Stamp } from '../../core/drift.ts';
import type { GraphEntities } from '../../neo4j/entities.ts';
import type { SourceEntities } from '../../postgres/entities.ts';

export interface ScanSources {
  readonly source: Pick<SourceEntities, 'page' | 'byIds'>;
  readonly graph: Pick<GraphEntities, 'page' | 'byIds'>;
  readonly filtered: boolean;
  readonly batchSize: number;
}

/** Never yields an empty batch. `start` null: from the first id. */
export async function* scan(
  sources: ScanSources,
  start: ScanStart | null,
  signal: AbortSignal,
): AsyncGenerator<readonly Pair[]> {
  const { source, graph, filtered, batchSize } = sources;
  const joined = mergeJoin(
    // What came to stand between the last row and the last id is behind the start, and compared.
    beyond(
      start,
      pages((after) => source.page(after, batchSize, signal), start?.row ?? null, batchSize),
    ),
    pages((after) => graph.page(after, batchSize), start?.after ?? null, batchSize),
    batchSize,
  );
  for await (const batch of joined) {
    signal.throwIfAborted();
    if (!filtered) yield batch;
    else {
      const ids = batch.map(({ id }) => id);
      yield pairsOf(ids, await source.byIds(ids, signal), await graph.byIds(ids));
    }
  }
}

/** In the order of `ids`. */
export function pairsOf<S extends { readonly id: string }, G extends { readonly id: string }>(
  ids: readonly string[],
  source: readonly S[],
  graph: readonly G[],
): { readonly id: string; readonly source: S | null; readonly graph: G | null }[] {
  const bySource = new Map(source.map((one) => [one.id, one]));
  const byGraph = new Map(graph.map((one) => [one.id, one]));
  return ids.map((id) => ({ id, source: bySource.get(id) ?? null, graph: byGraph.get(id) ?? null }));
}

/** The next page is read while one is worked on. */
async function* pages(
  read: (after: string | null) => Promise<readonly Stamp[]>,
  start: string | null,
  size: number,
): AsyncGenerator<readonly Stamp[]> {
  let following: Promise<readonly Stamp[]> | null = read(start);
  try {
    while (following !== null) {
      const page: readonly Stamp[] = await following;
      const last = page.at(-1);
      following = page.length < size || last === undefined ? null : read(last.id);
      // Whoever stops early does not wait for it.
      following?.catch(() => undefined);
      yield page;
    }
  } finally {
    await following?.catch(() => undefined);
  }
}

async function* beyond(
  start: ScanStart | null,
  read: AsyncIterable<readonly Stamp[]>,
): AsyncGenerator<readonly Stamp[]> {
  for await (const page of read)
    yield start === null ? page : page.filter(({ id }) => compareIds(id, start.after) > 0);
}
