/**
 * A difference may be a change on its way (design §6.2), so it counts only once it is confirmed:
 *
 *   read PostgreSQL ─▶ wait until the graph has all of that ─▶ read the graph ─▶ read PostgreSQL again
 *
 * Drift: both readings of PostgreSQL saw the same version of the row, and the graph differs. A graph that equals either
 * reading is ok. What else changed meanwhile goes another round, and so does a graph that may be ahead: a commit can be
 * in the stream before a reader sees it, so PostgreSQL must have been read once every transaction has ended that had
 * begun when the difference was first seen. When time is up, an entity whose position in the graph has moved is
 * being replicated, so it is ok; any other is unconfirmed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Drift, Verdict } from '../../core/drift.ts';
import { isAppError } from '../../core/errors.ts';
import type { Seen, SourceEntities } from '../../postgres/entities.ts';
import type { Holding } from './at-once.ts';
import { pairsOf } from './scan.ts';

export interface Versioned {
  readonly id: string;
  /** Another one of another version of the row. */
  readonly version: string;
}

export interface Positioned {
  readonly id: string;
  /** Of the last change applied. */
  readonly position: string;
}

/** How the two sides of something are read again, and what is said of them. */
export interface Comparing<S extends Versioned, G extends Positioned> {
  readonly source: Holding & {
    readonly byIds: (ids: readonly string[], signal: AbortSignal) => Promise<readonly S[]>;
  };
  readonly graph: { readonly byIds: (ids: readonly string[]) => Promise<readonly G[]> };
  /** Null: on neither side. */
  readonly verdict: (source: S | null, graph: G | null) => Verdict | null;
}

export interface Confirming {
  readonly snapshot: SourceEntities['snapshot'];
  /** Resolves once the graph has everything that was committed before the call; rejects with TIMED_OUT. */
  readonly caughtUp: (timeoutMs: number) => Promise<void>;
  readonly maxWaitMs: number;
  /** Without the stream nothing says what the graph has yet to get: it counts only if it is read the same twice. */
  readonly readTwice: boolean;
}

export interface Confirmed<S, G> {
  readonly ok: number;
  /** As they were read when they were confirmed. */
  readonly drift: readonly {
    readonly id: string;
    readonly verdict: Drift;
    readonly source: S | null;
    readonly graph: G | null;
  }[];
  readonly unconfirmed: readonly string[];
  /** False: the graph did not catch up before time was up. */
  readonly inTime: boolean;
}

const NEXT_ROUND_MS = 100;
const IMPATIENT_MS = 1000;

/** How long to wait, batch after batch: not long for those behind one that the graph did not catch up with. */
export function patienceOf({ maxWaitMs }: Pick<Confirming, 'maxWaitMs'>): {
  readonly ms: number;
  readonly note: (inTime: boolean) => void;
} {
  let ms = maxWaitMs;
  return {
    get ms() {
      return ms;
    },
    note(inTime) {
      ms = inTime ? maxWaitMs : Math.min(IMPATIENT_MS, maxWaitMs);
    },
  };
}

export async function confirm<S extends Versioned, G extends Positioned>(
  ids: readonly string[],
  { source, graph, verdict: verdictOn }: Comparing<S, G>,
  confirming: Confirming,
  signal: AbortSignal,
): Promise<Confirmed<S, G>> {
  const { snapshot, maxWaitMs, readTwice } = confirming;
  const deadline = performance.now() + maxWaitMs;
  const drift: Confirmed<S, G>['drift'][number][] = [];
  const firstPositions = new Map<string, string>();
  /** By id: the position with which the graph differed, and the first transaction that began after that was seen. */
  const since = new Map<string, { readonly position: string; readonly next: bigint }>();
  const moved = new Set<string>();
  let ok = 0;
  let open = ids;
  let inTime = true;

  while (open.length > 0) {
    const before = await source.byIds(open, signal);
    const earlier = readTwice ? new Map((await graph.byIds(open)).map((of) => [of.id, of])) : null;
    inTime = await reached(confirming, deadline);
    const there = await graph.byIds(open);
    const seen = await snapshot(signal);
    const after = new Map((await source.byIds(open, signal)).map((row) => [row.id, row]));
    const again: string[] = [];
    for (const pair of pairsOf(open, before, there)) {
      notePosition(pair.id, pair.graph);
      const verdict = verdictOn(pair.source, pair.graph);
      const now = after.get(pair.id) ?? null;
      const unmoved = earlier === null || isDeepStrictEqual(earlier.get(pair.id) ?? null, pair.graph);
      const steady = inTime && unmoved && now?.version === pair.source?.version;
      // Equal to either reading: what differs from the other is a change on its way.
      if (verdict === 'ok' || verdictOn(now, pair.graph) === 'ok') ok++;
      else if (!steady) again.push(pair.id);
      else if (verdict === null)
        continue; // gone on both sides
      else if (mayBeAhead(verdict, seen) && seen.xmin < sinceWhen(pair, seen)) again.push(pair.id);
      else drift.push({ ...pair, verdict });
    }
    open = again;
    if (!inTime || performance.now() > deadline) break;
    if (open.length > 0) await delay(NEXT_ROUND_MS, undefined, { signal });
  }
  const replicating = open.filter((id) => moved.has(id));
  const unconfirmed = open.filter((id) => !moved.has(id));
  return { ok: ok + replicating.length, drift, unconfirmed, inTime };

  function sinceWhen({ id, graph }: { id: string; graph: Positioned | null }, { next }: Seen): bigint {
    const position = graph?.position ?? '';
    const known = since.get(id);
    if (known?.position === position) return known.next;
    since.set(id, { position, next });
    return next;
  }

  function notePosition(id: string, node: Positioned | null): void {
    const position = node?.position ?? '';
    const first = firstPositions.get(id);
    if (first === undefined) firstPositions.set(id, position);
    else if (first < position) moved.add(id);
  }
}

/** False: not in time. */
export async function reached(
  { caughtUp }: Pick<Confirming, 'caughtUp'>,
  deadline: number,
): Promise<boolean> {
  try {
    await caughtUp(Math.max(1, deadline - performance.now()));
    return true;
  } catch (error) {
    if (isAppError(error, 'TIMED_OUT')) return false;
    throw error;
  }
}

/**
 * May the graph be the newer one? Of what is different by content nobody knows; what is missing or outdated there can be
 * so only if it was deleted or set back by a commit that waits for a standby.
 */
function mayBeAhead(verdict: Verdict, { synchronous }: Seen): boolean {
  return synchronous || (verdict !== 'missing' && verdict !== 'outdated');
}
