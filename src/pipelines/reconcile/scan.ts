/**
 * The comparison of sync-data (design §6.1): every candidate of either side, in the order of keys.
 *
 *   all:       a page of the graph ─▶ PostgreSQL's rows from where the last page ended to where this one does ─▶
 *              merge join ─▶ pairs
 *   filtered:  candidate ids of either side, found so ─▶ the whole of both sides, by id ─▶ pairs
 *
 * The graph's pages cut the keys into ranges, so that the rows of one are read beside those of the next; what a range
 * has more of than a page is read in pages. The filter chooses candidates on either side, but what is compared is the
 * whole: else an entity that is outdated in the graph, and so not recent there, would seem to be missing.
 */
import type { ScanStart } from '../../core/check-spool.ts';
import { mergeJoin, type Pair, type Sides, type Stamp } from '../../core/drift.ts';
import type { CompareKeys } from '../../core/keys.ts';
import type { GraphEntities } from '../../neo4j/entities.ts';
import type { SourceEntities } from '../../postgres/entities.ts';

export interface ScanSources {
  readonly source: Pick<SourceEntities, 'page' | 'byIds' | 'canHave' | 'compare'>;
  readonly graph: Pick<GraphEntities, 'page' | 'byIds'>;
  readonly filtered: boolean;
  /** The most that a page, and a batch of what is compared, have. */
  readonly batchSize: number;
  /** How many ranges of keys are read before they are asked for, now. */
  readonly ahead: () => number;
}

/** Never yields an empty batch. `start` null: from the first id. */
export async function* scan(
  sources: ScanSources,
  start: ScanStart | null,
  signal: AbortSignal,
): AsyncGenerator<readonly Pair[]> {
  const { source, graph, filtered, batchSize, ahead } = sources;
  const read = readAhead(ranges(sources, start, signal), ahead);
  for await (const batch of mergeJoin(read, batchSize, source.compare)) {
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

type Pages = AsyncGenerator<readonly Stamp[]>;

/** Each with the reading of its rows begun. Ids that no row can have, at the end of a page, are of the next range. */
async function* ranges(
  { source, graph, batchSize, ahead }: ScanSources,
  start: ScanStart | null,
  signal: AbortSignal,
): AsyncGenerator<Sides> {
  const rows = (from: string | null, upTo: string | null): Pages => {
    const read = async (after: string | null) => {
      const page = await source.page({ after, upTo }, batchSize, signal);
      return { page, more: page.length === batchSize && page.at(-1)?.id !== upTo };
    };
    return readAhead(beyond(start, pages(read, from), source.compare), () => Math.min(1, ahead()));
  };
  const nodes = pages(async (after) => {
    const page = await graph.page(after, batchSize);
    return { page, more: page.length === batchSize };
  }, start?.after ?? null);

  let from = start?.row ?? null;
  for (let left: readonly Stamp[] = []; ;) {
    const step = await nodes.next();
    const found = step.done === true ? left : [...left, ...step.value];
    const cut = step.done === true ? -1 : found.findLastIndex(({ id }) => source.canHave(id));
    const upTo = found[cut]?.id;
    if (upTo === undefined) {
      yield { source: rows(from, null), graph: following(found, nodes) };
      return;
    }
    yield { source: rows(from, upTo), graph: following(found.slice(0, cut + 1)) };
    from = upTo;
    left = found.slice(cut + 1);
  }
}

async function* pages(
  read: (after: string | null) => Promise<{ readonly page: readonly Stamp[]; readonly more: boolean }>,
  from: string | null,
): Pages {
  for (let after = from; ;) {
    const { page, more } = await read(after);
    yield page;
    const last = page.at(-1);
    if (!more || last === undefined) return;
    after = last.id;
  }
}

async function* following(first: readonly Stamp[], rest?: Pages): Pages {
  yield first;
  if (rest !== undefined) yield* rest;
}

/** What came to stand between the last row and the last id is behind the start, and compared. */
async function* beyond(start: ScanStart | null, rows: Pages, compare: CompareKeys): Pages {
  for await (const page of rows)
    yield start === null ? page : page.filter(({ id }) => compare(id, start.after) > 0);
}

/** `depth` steps are under way before they are asked for, one after the other, from now on. */
function readAhead<T>(steps: AsyncGenerator<T>, depth: () => number): AsyncGenerator<T> {
  const begun: Promise<IteratorResult<T>>[] = [];
  function begin(): void {
    const step = steps.next();
    // Whoever stops early never asks for it.
    step.catch(() => undefined);
    begun.push(step);
  }
  while (begun.length < depth()) begin();
  return (async function* () {
    try {
      for (;;) {
        while (begun.length <= depth()) begin();
        const step = await begun.shift();
        if (step === undefined || step.done === true) return;
        yield step.value;
      }
    } finally {
      await steps.return(undefined).catch(() => undefined);
    }
  })();
}
