/**
 * The repair of sync-data (design §6.4): it asks, and the stream answers (I1, I2).
 *
 *   ids ─▶ their keys and those of their relationships ─▶ republish requests ─▶ wait until applied ─▶ look again
 *
 * Requests wait for each other, so that the stream never has more than one batch of them.
 */
import { batchesOf } from '../../core/batches.ts';
import { verdictOf } from '../../core/drift.ts';
import type { EntityTable } from '../../core/entity-table.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { Graph } from '../../neo4j/client.ts';
import type { GraphEntities } from '../../neo4j/entities.ts';
import type { SourceEntities } from '../../postgres/entities.ts';
import { ask, type Asking, AT_ONCE, type Left, leaving, NOTHING_LEFT, stillDiffering } from './ask.ts';
import type { EntityContents } from './deep.ts';
import { edgesOf } from './edges.ts';

export interface RepairContext extends Asking {
  readonly mapping: Mapping;
  readonly entities: EntityTable;
  readonly graph: Graph;
  readonly source: Pick<SourceEntities, 'byIds'>;
  readonly nodes: Pick<GraphEntities, 'byIds'>;
  /** If content is compared. */
  readonly contents?: EntityContents;
}

export async function repair(
  ids: AsyncIterable<string>,
  context: RepairContext,
  signal: AbortSignal,
): Promise<Left> {
  const { entities, contents, source, nodes } = context;
  let left = NOTHING_LEFT;
  for await (const batch of batchesOf(ids, AT_ONCE)) {
    const edges = await edgesOf(batch, entities, context, signal);
    const keys = batch.map((id) => [id]);
    await ask(entities.mapping, keys, context, signal);
    for (const { table, keys } of edges) await ask(table, keys, context, signal);
    const differ =
      contents === undefined
        ? await stillDiffering(batch, { source, graph: nodes, verdict: verdictOf }, context, signal)
        : await stillDiffering(batch, contents, context, signal);
    left = leaving(left, differ);
  }
  return left;
}
