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

/** Runs until the signal. Throws PROGRESS_LOST, upon which a session takes up what the graph says now. */
export async function watchProgress(graph: Graph, mapping: Mapping, signal: AbortSignal): Promise<void> {
  let before = new Map<string, bigint>();
  for (;;) {
    // Whoever needs Neo4j for what it does waits for it, or fails by it.
    const rows = await readProgress(graph, mapping).catch(() => null);
    if (rows !== null) {
      const now = new Map(rows.map(({ topic, partition, next }) => [`${topic}-${partition}`, next]));
      for (const [name, next] of before) if ((now.get(name) ?? -1n) < next) throw wentBack(name);
      before = now;
    }
    await delay(EVERY_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
  }
}

function wentBack(name: string): AppError {
  return new AppError(
    'PROGRESS_LOST',
    `The graph's progress in ${name} went back: it was emptied, or restored from a backup.`,
  );
}
