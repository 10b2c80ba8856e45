/** One graph, one source: data of two clusters or databases is never mixed, nor compared. */
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from '../neo4j/client.ts';
import { claimGraph, sourceOfGraph } from '../neo4j/graph-id.ts';
import type { Sql } from '../postgres/client.ts';
import { inspectSource, requirePrimary } from '../postgres/source.ts';

export interface Source {
  readonly systemIdentifier: string;
  readonly database: string;
}

export const TOOK_ITS_PLACE = 'If this database has taken the place of that one';

/** As it stands in the graph. */
export function nameOfSource({ systemIdentifier, database }: Source): string {
  return `${systemIdentifier}/${database}`;
}

/**
 * Throws GRAPH_FOREIGN. `claim`: a graph that is nobody's yet is this source's from now on, and so is one of those
 * `replaced`, in whose place a recovery has put this source.
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
  if (found === null || found === ours) return;
  throw foreignGraph(found, source, claim ? `${TOOK_ITS_PLACE}, run graph recover.` : undefined);
}

/**
 * What is to be known before anything is said of slot, topics or progress: a standby has another slot or none, and the
 * progress in a graph of another source says nothing of these topics. Throws POSTGRES_FAILED of a standby, GRAPH_FOREIGN.
 */
export async function requireOwnGraph(
  { sql, graph }: { readonly sql: Sql; readonly graph: Graph },
  mapping: Mapping,
  signal?: AbortSignal,
): Promise<void> {
  const source = await inspectSource(sql, signal);
  requirePrimary(source);
  await requireSameSource(graph, mapping, source, { claim: false });
}

export function foreignGraph(found: string, source: Source, furtherRemedy?: string): AppError {
  return new AppError(
    'GRAPH_FOREIGN',
    `The graph holds the data of another source (system identifier and database ${found}, not ${nameOfSource(source)}).`,
    furtherRemedy === undefined ? {} : { furtherRemedy },
  );
}
