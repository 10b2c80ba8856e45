/**
 * Is the graph still the one that the session began with? It may be emptied, put back to an earlier state, or replaced by
 * another one while nothing is written to it. Whoever writes finds out by the fence; who is idle would wait for ever for
 * records that it has already read.
 */
import { AppError } from '../../core/errors.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { Graph } from '../../neo4j/client.ts';
import { graphUuid, sourceOfGraph } from '../../neo4j/graph-id.ts';
import { type PartitionProgress, readProgress } from '../../neo4j/progress.ts';
import { every } from '../../runtime/every.ts';

const EVERY_MS = 5_000;

/** What a session knows of its graph. Partitions are `<topic>-<partition>`. */
export interface KnownGraph {
  readonly uuid: string;
  /** Null: not known. */
  readonly source: string | null;
  /** By topic. */
  readonly generations: ReadonlyMap<string, string>;
  readonly owner: string;
  /** Partitions that were taken over and not given up. */
  readonly owned: ReadonlySet<string>;
  /** How far partitions are known to have come: offsets. */
  readonly reached: ReadonlyMap<string, bigint>;
}

export interface FoundGraph {
  /** Null: there is none. */
  readonly uuid: string | null;
  readonly source: string | null;
  readonly progress: readonly PartitionProgress[];
}

export interface Watched extends KnownGraph {
  readonly reached: Map<string, bigint>;
}

/**
 * Runs until the signal. Throws PROGRESS_LOST, upon which a session takes up what the graph says now, once that is not
 * what was said before, and what this process has made of it since.
 */
export async function watchProgress(
  graph: Graph,
  mapping: Mapping,
  watched: Watched,
  signal: AbortSignal,
): Promise<void> {
  const check = async () => {
    // Before the graph is read: what is committed or taken over meanwhile may not be in that reading.
    const known = { ...watched, owned: new Set(watched.owned), reached: new Map(watched.reached) };
    // Whoever needs Neo4j for what it does waits for it, or fails by it.
    const found = await look(graph, mapping).catch(() => null);
    if (found === null) return;
    const lost = lostSince(known, found, watched.owned);
    if (lost !== null) throw new AppError('PROGRESS_LOST', `The graph is not the one it was: ${lost}.`);
    for (const row of found.progress) advance(watched.reached, nameOf(row), row.next);
  };
  await check();
  await every(EVERY_MS, signal, check);
}

/** For people; null: nothing is. `stillOwned`: after the graph was read. */
export function lostSince(
  { uuid, source, generations, owner, owned, reached }: KnownGraph,
  found: FoundGraph,
  stillOwned: ReadonlySet<string> = owned,
): string | null {
  if (found.uuid === null) return 'it was emptied';
  if (found.uuid !== uuid) return 'it is another one';
  if (source !== null && found.source !== source) return 'it holds the data of another source';
  const rows = new Map(found.progress.map((row) => [nameOf(row), row]));
  for (const [name, next] of reached)
    if ((rows.get(name)?.next ?? -1n) < next)
      return `progress in ${name} went back, as if emptied, or restored from a backup`;
  for (const row of found.progress) {
    if (row.generation !== (generations.get(row.topic) ?? row.generation))
      return `it knows another topic ${row.topic}`;
    const name = nameOf(row);
    if (row.owner !== owner && owned.has(name) && stillOwned.has(name))
      return `${name} belongs to another projector`;
  }
  return null;
}

export function advance(reached: Map<string, bigint>, name: string, next: bigint): void {
  if ((reached.get(name) ?? -1n) < next) reached.set(name, next);
}

async function look(graph: Graph, mapping: Mapping): Promise<FoundGraph> {
  return {
    uuid: await graphUuid(graph, mapping),
    source: await sourceOfGraph(graph, mapping),
    progress: await readProgress(graph, mapping),
  };
}

function nameOf({ topic, partition }: Pick<PartitionProgress, 'topic' | 'partition'>): string {
  return `${topic}-${partition}`;
}
