/** The graph that is filled is never the one in use, by whatever names the two are reached: it may be emptied first. */
import { AppError } from '../../core/errors.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { Graph } from '../../neo4j/client.ts';
import { graphUuid, homeOf } from '../../neo4j/graph-id.ts';

/** Throws TARGET_IS_LIVE. */
export async function requireOther(target: Graph, live: Graph, mapping: Mapping): Promise<void> {
  const [there, here] = [await homeOf(target), await homeOf(live)];
  if (there.serverId === here.serverId && there.database === here.database)
    throw new AppError('TARGET_IS_LIVE', '--into names the graph that is in use (NEO4J_URI).');
  // Of a cluster, each server has an id.
  const uuid = await graphUuid(live, mapping);
  if (uuid === null || uuid !== (await graphUuid(target, mapping))) return;
  throw new AppError(
    'TARGET_IS_LIVE',
    'The graph that --into names has the id of the one in use (NEO4J_URI): it is that one by another way, or a copy, ' +
      `which is told apart once this is run on it: MATCH (g:_Graph {id: '${mapping.sink.namespace}'}) DELETE g.`,
  );
}
