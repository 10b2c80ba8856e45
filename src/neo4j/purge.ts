/**
 * Tombstones that have stood long enough go (design I7). What they forbade is remembered by position, per table: an
 * upsert at or below `purgedThrough` of something that is not there may be of a deleted row, and is asked for instead.
 * The one and the other change in one transaction; a batch that looks for a tombstone meanwhile tries again.
 */
import type { Mapping } from '../core/mapping.ts';
import type { Position } from '../core/position.ts';
import type { Graph } from './client.ts';
import { NOW } from './cypher.ts';
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

const FORBID = `UNWIND $floors AS id
MATCH (f:_Floor {id: id})
REMOVE f._lock
WITH f WHERE f[$now.purgedThrough] < $through
SET f.purgedThrough = $through`;

/**
 * A graph that begins somewhere in the topics, or goes on further down, has never had the tombstones of what was deleted
 * before: as if they had been purged. `open` is a graph, or a transaction on it.
 */
export async function forbidUnseen(
  open: { readonly run: (query: string, parameters: object) => PromiseLike<unknown> },
  mapping: Mapping,
  tables: ReadonlySet<string>,
  through: Position,
): Promise<void> {
  const floors = [...statementsOf(mapping)]
    .filter(([table]) => tables.has(table))
    .map(([, { parameters }]) => parameters.floor)
    .sort();
  await open.run(FORBID, { floors, through, now: NOW });
}

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
