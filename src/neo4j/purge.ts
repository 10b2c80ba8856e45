/**
 * Tombstones that have stood long enough go (design I7). What they forbade is remembered by position, per table: an
 * upsert at or below `purgedThrough` of something that is not there may be of a deleted row, and is asked for instead.
 * The one and the other change in one transaction; a batch that looks for a tombstone meanwhile tries again.
 */
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from './client.ts';
import { statementsOf } from './statements.ts';

const PAGE = 5_000n;

const PURGE = `MATCH (f:_Floor {id: $floor})
REMOVE f._lock
WITH f
MATCH (t:_Tombstone) WHERE t.id > $after AND t.id STARTS WITH $tombstones
WITH f, t, t.id AS id ORDER BY id LIMIT $limit
WITH f, collect(t) AS page, max(id) AS last
CALL (f, page) {
  UNWIND page AS t
  WITH t WHERE t[$now.deletedAt] < timestamp() - $retentionMs
  REMOVE t._lock
  WITH t WHERE t[$now.deletedAt] < timestamp() - $retentionMs
  WITH collect(t) AS old, max(t[$now.position]) AS through
  SET f.purgedThrough = CASE WHEN through > f[$now.purgedThrough] THEN through ELSE f[$now.purgedThrough] END
  FOREACH (t IN old | DELETE t)
  RETURN size(old) AS purged
}
RETURN last, purged`;

/** Resolves to how many went. */
export async function purgeTombstones(graph: Graph, mapping: Mapping, signal: AbortSignal): Promise<number> {
  const retentionMs = BigInt(mapping.sink.tombstoneRetentionMs);
  let purged = 0;
  for (const { parameters } of statementsOf(mapping).values()) {
    let after: unknown = parameters.floor;
    while (after !== null) {
      signal.throwIfAborted();
      const [page] = await graph.run(PURGE, { ...parameters, retentionMs, after, limit: PAGE });
      after = page?.['last'] ?? null;
      purged += Number(page?.['purged'] ?? 0);
    }
  }
  return purged;
}
