/**
 * Which graph this is: an id of its own, and the server that it lies on, so that a copy loaded elsewhere is another
 * graph. (The database's id is no help: it is that of its store, and goes with a dump. The server's does not.)
 */
import { createHash, randomUUID } from 'node:crypto';
import { AppError } from '../core/errors.ts';
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from './client.ts';
import { NOW } from './cypher.ts';

export interface GraphIdentity {
  readonly uuid: string;
  readonly serverId: string;
}

export async function graphIdentity(graph: Graph, mapping: Mapping): Promise<GraphIdentity> {
  const { namespace } = mapping.sink;
  const [node] = await graph.run(
    `MERGE (g:_Graph {id: $id}) ON CREATE SET g.namespace = $namespace, g.uuid = $uuid RETURN g.uuid AS uuid`,
    { id: namespace, namespace, uuid: randomUUID() },
  );
  const { serverId } = await homeOf(graph);
  return { uuid: String(node?.['uuid']), serverId };
}

export interface Home {
  readonly serverId: string;
  /** As the server itself calls it. */
  readonly database: string;
}

/** Where the database lies, whatever name it and its server are reached by. Throws NEO4J_DATABASE. */
export async function homeOf(graph: Graph): Promise<Home> {
  const [found] = await graph.run(
    `SHOW DATABASES YIELD name, aliases, serverID
     WHERE name = toLower($name) OR toLower($name) IN aliases
     RETURN serverID AS serverId, name AS database ORDER BY serverId`,
    { name: graph.database },
  );
  if (found !== undefined) return found as unknown as Home;
  throw new AppError(
    'NEO4J_DATABASE',
    `Neo4j does not say on which server the database ${graph.database} lies: it lists none of this name to this user.`,
  );
}

/** Null: there is no graph of this namespace. */
export async function graphUuid(graph: Graph, { sink }: Mapping): Promise<string | null> {
  const [node] = await graph.run('MATCH (g:_Graph {id: $id}) RETURN g.uuid AS uuid', { id: sink.namespace });
  return typeof node?.['uuid'] === 'string' ? node['uuid'] : null;
}

/** The source that the graph holds the data of. Null: nobody's, or there is no graph of this namespace. */
export async function sourceOfGraph(graph: Graph, { sink }: Mapping): Promise<string | null> {
  const [node] = await graph.run('MATCH (g:_Graph {id: $id}) RETURN g.source AS source', {
    id: sink.namespace,
  });
  return typeof node?.['source'] === 'string' ? node['source'] : null;
}

/** Makes it the graph of `source` if it is nobody's yet, or that of one that `source` replaces. */
export async function claimGraph(
  graph: Graph,
  { sink }: Mapping,
  source: string,
  replaced: readonly string[],
): Promise<void> {
  await graph.run(
    `MATCH (g:_Graph {id: $id}) REMOVE g._lock
     WITH g WHERE g[$now.source] IS NULL OR g[$now.source] IN $replaced
     SET g.source = $source`,
    { id: sink.namespace, source, replaced, now: NOW },
  );
}

/** Projectors of one graph share a group, those of two graphs never do. */
export function consumerGroup(prefix: string, { uuid, serverId }: GraphIdentity): string {
  return `${prefix}-${createHash('sha256').update(`${uuid}|${serverId}`).digest('hex').slice(0, 16)}`;
}
