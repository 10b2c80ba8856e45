/**
 * Up to where a graph is proved, as it says itself: what was put back from a backup, or loaded from an older dump, says
 * what it said then. A rebuild removes it with its first step.
 */
import type { Mapping } from '../core/mapping.ts';
import type { Position } from '../core/position.ts';
import type { Graph } from './client.ts';

/** Durable when resolved. */
export async function markProof(graph: Graph, { sink }: Mapping, through: Position): Promise<void> {
  await graph.run('MATCH (g:_Graph {id: $id}) SET g.provedThrough = $through', {
    id: sink.namespace,
    through,
  });
}

/** Null: it never was, or there is no graph of this namespace. */
export async function proofMark(graph: Graph, { sink }: Mapping): Promise<Position | null> {
  const [node] = await graph.run('MATCH (g:_Graph {id: $id}) RETURN g.provedThrough AS through', {
    id: sink.namespace,
  });
  return typeof node?.['through'] === 'string' ? (node['through'] as Position) : null;
}
