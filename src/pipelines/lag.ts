/** How far replication is behind, as time: of the graph behind Kafka, and of Kafka behind PostgreSQL. */
import { type Lsn } from '../core/lsn.ts';
import type { PartitionRange } from '../kafka/offsets.ts';
import type { PartitionProgress } from '../neo4j/progress.ts';
import { emitMarker, recordsBehind, requireSlot, type WaitSources } from './wait.ts';

/** Age of the newest change applied, while something is behind; 0 when nothing is; null if nothing was ever applied. */
export function lagMs(
  ends: readonly PartitionRange[],
  progress: readonly PartitionProgress[],
  nowMs: number,
): number | null {
  if (recordsBehind(ends, progress) === 0n) return 0;
  const newest = Math.max(0, ...progress.map(({ committedMs }) => committedMs ?? 0));
  return newest === 0 ? null : Math.max(0, nowMs - newest);
}

/**
 * Of what is committed, to the graph. WAL has no time of its own: a marker that Kafka does not have yet has been on its
 * way since it was emitted, and so has what was committed before it. One at a time is.
 */
export function replicationLag(sources: WaitSources, signal: AbortSignal): () => Promise<number | null> {
  const { sql, topicEnds, progress } = sources;
  let marker: { readonly lsn: Lsn; readonly emittedAt: number } | null = null;

  async function unpublishedMs(): Promise<number> {
    if (marker !== null) {
      const slot = await requireSlot(sources, signal);
      const waitingMs = performance.now() - marker.emittedAt;
      if (slot.confirmedFlush < marker.lsn) return waitingMs;
    }
    const emittedAt = performance.now();
    marker = { lsn: await emitMarker(sql, signal), emittedAt };
    return 0;
  }

  return async () => {
    const unpublished = await unpublishedMs();
    const unapplied = lagMs(await topicEnds(), await progress(), Date.now());
    return unapplied === null ? null : Math.round(Math.max(unpublished, unapplied));
  };
}
