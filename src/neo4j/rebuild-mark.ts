/**
 * What a graph says of its rebuild, in its `_Graph` node: from before the first thing is removed until the result is
 * proved, so that no crash leaves it half empty without a word.
 *
 *   emptying ─▶ building ─▶ proved
 *
 * While it is emptied nobody gets progress rows (progress.ts), and so nobody can write by the fence.
 */
import { createHash } from 'node:crypto';
import type { Transaction } from 'neo4j-driver';
import { AppError } from '../core/errors.ts';
import type { Mapping, TableMapping } from '../core/mapping.ts';
import type { Graph } from './client.ts';
import { NOW } from './cypher.ts';

export type RebuildState = 'emptying' | 'building';

export interface RebuildMark {
  readonly state: RebuildState;
  /** Digest of the mapping that it is built by. */
  readonly mapping: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Every row is to be published again, and that has not been asked for to the end. */
  readonly republish: boolean;
}

/** Null: none was begun, or it was brought to its end. */
export async function readRebuild(graph: Graph, { sink }: Mapping): Promise<RebuildMark | null> {
  const [node] = await graph.run(
    `MATCH (g:_Graph {id: $id}) WHERE g.rebuild IS NOT NULL
     RETURN g.rebuild AS state, g.rebuildMapping AS mapping, g.rebuildStartedAt AS startedAt,
            coalesce(g.rebuildRepublish, false) AS republish`,
    { id: sink.namespace },
  );
  return (node as RebuildMark | undefined) ?? null;
}

/**
 * `source` becomes the one whose data the graph is to hold, and what was proved of it is not any more; `republish`, once
 * said, stays until `markAsked`. Durable when resolved.
 */
export async function markRebuild(
  graph: Graph,
  mapping: Mapping,
  state: RebuildState,
  { source, republish }: { readonly source: string; readonly republish: boolean },
): Promise<void> {
  const { namespace } = mapping.sink;
  await graph.run(
    `MERGE (g:_Graph {id: $namespace}) ON CREATE SET g.namespace = $namespace, g.uuid = randomUUID()
     SET g.source = $source, g.rebuild = $state, g.rebuildMapping = $mapping,
         g.rebuildStartedAt = coalesce(g.rebuildStartedAt, $startedAt),
         g.rebuildRepublish = $republish OR coalesce(g.rebuildRepublish, false)
     REMOVE g.provedThrough`,
    {
      namespace,
      state,
      source,
      republish,
      mapping: mappingDigest(mapping),
      startedAt: new Date().toISOString(),
    },
  );
}

/** Every row has been asked for. */
export async function markAsked(graph: Graph, { sink }: Mapping): Promise<void> {
  await graph.run('MATCH (g:_Graph {id: $id}) REMOVE g.rebuildRepublish', { id: sink.namespace });
}

/** It is the source's: nothing of the rebuild is left to be said. */
export async function markProved(graph: Graph, { sink }: Mapping): Promise<void> {
  await graph.run(
    'MATCH (g:_Graph {id: $id}) REMOVE g.rebuild, g.rebuildMapping, g.rebuildStartedAt, g.rebuildRepublish',
    { id: sink.namespace },
  );
}

/**
 * Locks the graph's node for whoever is about to make progress rows, so that none appears behind a rebuild that removes
 * them. Throws GRAPH_EMPTYING.
 */
export async function lockGraph(open: Transaction, { sink }: Mapping): Promise<void> {
  const { records } = await open.run(
    'MATCH (g:_Graph {id: $id}) REMOVE g._lock RETURN g[$now.rebuild] AS state',
    {
      id: sink.namespace,
      now: NOW,
    },
  );
  if (records[0]?.get('state') === 'emptying')
    throw new AppError(
      'GRAPH_EMPTYING',
      'The graph is being emptied by a rebuild that was not brought to its end.',
    );
}

/** Of what decides what a graph looks like. */
export function mappingDigest({ tables, sink }: Pick<Mapping, 'tables' | 'sink'>): string {
  const text = JSON.stringify([sink.namespace, tables], (_, value: unknown) =>
    value instanceof Map ? [...(value as ReadonlyMap<unknown, unknown>)] : value,
  );
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** As `mappingDigest`, of what one table becomes in it. */
export function tableDigest({ sink }: Pick<Mapping, 'sink'>, table: TableMapping): string {
  return mappingDigest({ sink, tables: [table] });
}
