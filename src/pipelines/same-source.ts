/** One graph, one source: data of two clusters or databases is never mixed, nor compared. */
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from '../neo4j/client.ts';
import { claimGraph, sourceOfGraph } from '../neo4j/graph-id.ts';

export interface Source {
  readonly systemIdentifier: string;
  readonly database: string;
}

/** As it stands in the graph. */
export function nameOfSource({ systemIdentifier, database }: Source): string {
  return `${systemIdentifier}/${database}`;
}

/**
 * Throws GRAPH_FOREIGN. `replaced`: whose graph it may be still, by a recovery that has put this source in their place.
 * `claim`: such a graph, and one that is nobody's yet, is this source's from now on.
 */
export async function requireSameSource(
  graph: Graph,
  mapping: Mapping,
  source: Source,
  { claim, replaced = [] }: { readonly claim: boolean; readonly replaced?: readonly string[] },
): Promise<void> {
  const ours = nameOfSource(source);
  if (claim) await claimGraph(graph, mapping, ours, replaced);
  const found = await sourceOfGraph(graph, mapping);
  if (found === null || found === ours || (!claim && replaced.includes(found))) return;
  throw new AppError(
    'GRAPH_FOREIGN',
    `The graph holds the data of another source (system identifier and database ${found}, not ${ours}).`,
  );
}
