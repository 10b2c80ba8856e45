/**
 * Removes a graph: everything that the mapping names and everything of its namespace but the `_Graph` node, which says
 * meanwhile that this is going on.
 *
 *   progress ─▶ relationships ─▶ nodes ─▶ tombstones ─▶ floors, in pages, each in a transaction of its own
 *
 * Guarantee: once the progress rows are gone, whoever wrote by them is refused (I8); an open batch ends before that,
 * since it has locked one. What is neither of the mapping nor of the namespace stays, but for relationships of other
 * types on nodes that go. On failure it begins again and finds less.
 */
import { type Mapping, relationshipTypes } from '../core/mapping.ts';
import { type Graph, TRANSACTION_MS } from './client.ts';
import { quote } from './cypher.ts';

const PAGE = 10_000n;

/** A transaction of a former owner of a partition may take so long to end. */
const PATIENCE_MS = 2 * TRANSACTION_MS;

/** `onRemoved`: how many nodes and relationships so far. */
export async function emptyGraph(
  graph: Graph,
  mapping: Mapping,
  onRemoved: (total: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { namespace } = mapping.sink;
  await graph.run(
    'MATCH (p:_Progress {namespace: $namespace}) DETACH DELETE p',
    { namespace },
    { timeoutMs: PATIENCE_MS },
  );

  let total = 0;
  async function removeAll(match: string, remove: string): Promise<void> {
    for (let removed = -1n; removed !== 0n;) {
      signal.throwIfAborted();
      const [page] = await graph.run(
        `${match} WITH x LIMIT $limit ${remove} x RETURN count(*) AS removed`,
        { namespace, prefix: `${namespace}|`, limit: PAGE },
        { timeoutMs: PATIENCE_MS },
      );
      removed = page?.['removed'] as bigint;
      total += Number(removed);
      onRemoved(total);
    }
  }

  for (const { target } of mapping.tables) {
    if (target.kind === 'node') continue;
    for (const type of relationshipTypes(target))
      await removeAll(`MATCH ()-[x:${quote(type)}]->()`, 'DELETE');
  }
  for (const { target } of mapping.tables)
    if (target.kind === 'node') await removeAll(`MATCH (x:${quote(target.label)})`, 'DETACH DELETE');
  const own = 'WHERE x.id STARTS WITH $prefix AND x.namespace = $namespace';
  await removeAll(`MATCH (x:_Tombstone) ${own}`, 'DETACH DELETE');
  await removeAll(`MATCH (x:_Floor) ${own}`, 'DETACH DELETE');
}

export interface GraphSize {
  /** Of the database as a whole. */
  readonly nodes: number;
  readonly relationships: number;
  /** Nodes that the mapping or the namespace names; the `_Graph` node is not counted. */
  readonly own: number;
}

export async function graphSize(graph: Graph, mapping: Mapping): Promise<GraphSize> {
  const { namespace } = mapping.sink;
  const count = async (query: string): Promise<number> => {
    const [row] = await graph.run(`${query} RETURN count(*) AS n`, { namespace }, { timeoutMs: Infinity });
    return Number(row?.['n'] ?? 0);
  };
  const labels = mapping.tables.flatMap(({ target }) => (target.kind === 'node' ? [target.label] : []));
  let own = 0;
  for (const label of labels) own += await count(`MATCH (x:${quote(label)})`);
  own += await count('MATCH (x:_Progress|_Floor|_Tombstone {namespace: $namespace})');
  return {
    nodes: await count('MATCH (x)'),
    relationships: await count('MATCH ()-[x]->()'),
    own,
  };
}
