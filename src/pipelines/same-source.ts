/** One graph, one source: data of two clusters or databases is never mixed, nor compared. */
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from '../neo4j/client.ts';
import { sourceOfGraph } from '../neo4j/graph-id.ts';

export interface Source {
  readonly systemIdentifier: string;
  readonly database: string;
}

/** Throws GRAPH_FOREIGN. `claim`: a graph that is nobody's yet is this source's from now on. */
export async function requireSameSource(
  graph: Graph,
  mapping: Mapping,
  source: Source,
  { claim }: { readonly claim: boolean },
): Promise<void> {
  const ours = nameOfSource(source);
  const found = await sourceOfGraph(graph, mapping, claim ? ours : null);
  if (found === null || found === ours) return;
  throw new AppError(
    'GRAPH_FOREIGN',
    `The graph holds the data of another source (system identifier and database ${found}, not ${ours}).`,
  );
}

/** As the graph has it. */
export function nameOfSource({ systemIdentifier, database }: Source): string {
  return `${systemIdentifier}/${database}`;
}
