/** Which graph this is: an id of its own, and the database it lies in, so that a copy loaded elsewhere is another graph. */
import { createHash, randomUUID } from 'node:crypto';
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from './client.ts';

export interface GraphIdentity {
  readonly uuid: string;
  readonly databaseId: string;
}

export async function graphIdentity(graph: Graph, mapping: Mapping): Promise<GraphIdentity> {
  const { namespace } = mapping.sink;
  const [node] = await graph.run(
    `MERGE (g:_Graph {id: $id}) ON CREATE SET g.namespace = $namespace, g.uuid = $uuid RETURN g.uuid AS uuid`,
    { id: namespace, namespace, uuid: randomUUID() },
  );
  const [database] = await graph.run(
    `SHOW DATABASES YIELD name, databaseID WHERE name = $name RETURN databaseID AS id`,
    {
      name: graph.database,
    },
  );
  return { uuid: String(node?.['uuid']), databaseId: String(database?.['id']) };
}

/** Projectors of one graph share a group, those of two graphs never do. */
export function consumerGroup(prefix: string, { uuid, databaseId }: GraphIdentity): string {
  return `${prefix}-${createHash('sha256').update(`${uuid}|${databaseId}`).digest('hex').slice(0, 16)}`;
}
