/**
 * A difference may be a change on its way (design §6.2), so it counts only once it is confirmed:
 *
 *   read PostgreSQL ─▶ wait until the graph has all of that ─▶ read the graph ─▶ read PostgreSQL again
 *
 * Drift: both readings of PostgreSQL saw the same version of the row, and the graph differs. What changed meanwhile goes
 * another round, and so does a graph that is ahead while a transaction is running that may have put it there: a commit
 * can be in the stream before a reader sees it. When time is up, an entity whose position in the graph has moved is
 * being replicated, so it is ok; any other is unconfirmed.
 */
import { type Drift, type Verdict, verdictOf } from '../../core/drift.ts';
import { isAppError } from '../../core/errors.ts';
import type { GraphEntities, PositionedStamp } from '../../neo4j/entities.ts';
import type { SourceEntities } from '../../postgres/entities.ts';
import { pairsOf } from './scan.ts';

export interface ConfirmSources {
  readonly source: Pick<SourceEntities, 'byIds' | 'snapshot'>;
  readonly graph: Pick<GraphEntities, 'byIds'>;
  /** Resolves once the graph has everything that was committed before the call; rejects with TIMED_OUT. */
  readonly caughtUp: (timeoutMs: number) => Promise<void>;
  readonly maxWaitMs: number;
}

export interface Confirmed {
  readonly ok: number;
  readonly drift: ReadonlyMap<string, Drift>;
  readonly unconfirmed: readonly string[];
}

export async function confirm(
  ids: readonly string[],
  sources: ConfirmSources,
  signal: AbortSignal,
): Promise<Confirmed> {
  const { source, graph, maxWaitMs } = sources;
  const deadline = performance.now() + maxWaitMs;
  const drift = new Map<string, Drift>();
  const firstPositions = new Map<string, string>();
  const moved = new Set<string>();
  let ok = 0;
  let open = ids;
  let firstXmax: bigint | null = null;

  while (open.length > 0) {
    const before = await source.byIds(open, signal);
    firstXmax ??= (await source.snapshot(signal)).xmax;
    const inTime = await reached(sources, deadline);
    const there = await graph.byIds(open);
    const { xmin } = await source.snapshot(signal);
    const after = new Map((await source.byIds(open, signal)).map((row) => [row.id, row.version]));
    const again: string[] = [];
    for (const pair of pairsOf(open, before, there)) {
      notePosition(pair.id, pair.graph);
      const verdict = verdictOf(pair.source, pair.graph);
      const steady = inTime && after.get(pair.id) === pair.source?.version;
      if (verdict === 'ok') ok++;
      else if (!steady || (isAhead(verdict) && xmin < firstXmax)) again.push(pair.id);
      else if (verdict !== null) drift.set(pair.id, verdict);
    }
    open = again;
    if (!inTime || performance.now() > deadline) break;
  }
  const replicating = open.filter((id) => moved.has(id));
  return { ok: ok + replicating.length, drift, unconfirmed: open.filter((id) => !moved.has(id)) };

  function notePosition(id: string, node: PositionedStamp | null): void {
    const position = node?.position ?? '';
    const first = firstPositions.get(id);
    if (first === undefined) firstPositions.set(id, position);
    else if (first < position) moved.add(id);
  }
}

async function reached({ caughtUp }: ConfirmSources, deadline: number): Promise<boolean> {
  try {
    await caughtUp(Math.max(1, deadline - performance.now()));
    return true;
  } catch (error) {
    if (isAppError(error, 'TIMED_OUT')) return false;
    throw error;
  }
}

function isAhead(verdict: Verdict | null): boolean {
  return verdict === 'strange' || verdict === 'not_deleted';
}
