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
  const [database] = await graph.run(
    'SHOW DATABASES YIELD name, serverID WHERE name = toLower($name) RETURN serverID AS id',
    { name: graph.database },
  );
  return { uuid: String(node?.['uuid']), serverId: String(database?.['id']) };
}

/** Projectors of one graph share a group, those of two graphs never do. */
export function consumerGroup(prefix: string, { uuid, serverId }: GraphIdentity): string {
  return `${prefix}-${createHash('sha256').update(`${uuid}|${serverId}`).digest('hex').slice(0, 16)}`;
}
