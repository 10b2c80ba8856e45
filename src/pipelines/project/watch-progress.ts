/**
 * Has the graph been emptied, or put back to an earlier state, while nothing was written to it? Whoever writes finds out
 * by the fence; who is idle would wait for ever for records that it has already read.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../../core/errors.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { Graph } from '../../neo4j/client.ts';
import { readProgress } from '../../neo4j/progress.ts';

const EVERY_MS = 5_000;

/** How far partitions are known to have come: offsets by `<topic>-<partition>`. */
export type Reached = Map<string, bigint>;

/**
 * Runs until the signal. Throws PROGRESS_LOST, upon which a session takes up what the graph says now, once it says less
 * than `reached`: what it said before, and what this process has committed since.
 */
export async function watchProgress(
  graph: Graph,
  mapping: Mapping,
  reached: Reached,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    // Before the graph is read: what is committed meanwhile may not be in that reading.
    const known = [...reached];
    // Whoever needs Neo4j for what it does waits for it, or fails by it.
    const rows = await readProgress(graph, mapping).catch(() => null);
    if (rows !== null) {
      const now = new Map(rows.map(({ topic, partition, next }) => [`${topic}-${partition}`, next]));
      for (const [name, next] of known) if ((now.get(name) ?? -1n) < next) throw wentBack(name);
      for (const [name, next] of now) advance(reached, name, next);
    }
    await delay(EVERY_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
  }
}

export function advance(reached: Reached, name: string, next: bigint): void {
  if ((reached.get(name) ?? -1n) < next) reached.set(name, next);
}

function wentBack(name: string): AppError {
  return new AppError(
    'PROGRESS_LOST',
    `The graph's progress in ${name} went back: it was emptied, or restored from a backup.`,
  );
}
