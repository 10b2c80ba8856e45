/** Beside the projecting, once an hour: tombstones that have stood long enough go (I7). A failure waits for the next hour. */
import type { Mapping } from '../../core/mapping.ts';
import type { Graph } from '../../neo4j/client.ts';
import { purgeTombstones } from '../../neo4j/purge.ts';
import { every } from '../../runtime/every.ts';
import type { Log } from '../../runtime/log.ts';

const EVERY_MS = 3_600_000;

/** Resolves once `signal` is aborted; never rejects. */
export async function purgeNowAndThen(
  graph: Graph,
  mapping: Mapping,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  await every(EVERY_MS, signal, async () => {
    try {
      const purged = await purgeTombstones(graph, mapping, signal);
      if (purged > 0) log.info({ purged }, 'purged old tombstones');
    } catch (error) {
      if (error !== signal.reason)
        log.warn({ error }, 'tombstones could not be purged; trying again in an hour');
    }
  });
}
