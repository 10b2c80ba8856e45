/**
 * Which graph this is: an id of its own, and the server that it lies on, so that a copy loaded elsewhere is another
 * graph. (The database's id is no help: it is that of its store, and goes with a dump. The server's does not.)
 */
import { createHash, randomUUID } from 'node:crypto';
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from './client.ts';

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
  return { uuid: String(node?.['uuid']), serverId: await serverIdOf(graph) };
}

/** Of the server that the database lies on, whatever name it is reached by. */
export async function serverIdOf(graph: Graph): Promise<string> {
  const [database] = await graph.run(
    'SHOW DATABASES YIELD name, serverID WHERE name = toLower($name) RETURN serverID AS id',
    { name: graph.database },
  );
  return String(database?.['id']);
}

/** Null: there is no graph of this namespace. */
export async function graphUuid(graph: Graph, { sink }: Mapping): Promise<string | null> {
  const [node] = await graph.run('MATCH (g:_Graph {id: $id}) RETURN g.uuid AS uuid', { id: sink.namespace });
  return typeof node?.['uuid'] === 'string' ? node['uuid'] : null;
}

/**
 * The source that the graph holds the data of. `claim`: this one, if it is nobody's yet. Null: nobody's, or there is no
 * graph of this namespace.
 */
export async function sourceOfGraph(
  graph: Graph,
  { sink }: Mapping,
  claim: string | null,
): Promise<string | null> {
  const [node] = await graph.run(
    claim === null
      ? 'MATCH (g:_Graph {id: $id}) RETURN g.source AS source'
      : 'MATCH (g:_Graph {id: $id}) SET g.source = coalesce(g.source, $claim) RETURN g.source AS source',
    { id: sink.namespace, claim },
  );
  return typeof node?.['source'] === 'string' ? node['source'] : null;
}

/** Projectors of one graph share a group, those of two graphs never do. */
export function consumerGroup(prefix: string, { uuid, serverId }: GraphIdentity): string {
  return `${prefix}-${createHash('sha256').update(`${uuid}|${serverId}`).digest('hex').slice(0, 16)}`;
}
