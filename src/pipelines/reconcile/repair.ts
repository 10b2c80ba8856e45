/**
 * The repair of sync-data (design §6.4).
 *
 *   ids ─▶ their keys and those of their relationships ─▶ mend: ask the stream, or write ─▶ wait until applied ─▶ look again
 *
 * Batches wait for each other, so that the stream never has more than one of requests, and none behind one that is not
 * answered.
 */
import { verdictOf } from '../../core/drift.ts';
import type { EntityTable } from '../../core/entity-table.ts';
import type { Mapping } from '../../core/mapping.ts';
import type { Graph } from '../../neo4j/client.ts';
import type { GraphEntities } from '../../neo4j/entities.ts';
import type { Sql } from '../../postgres/client.ts';
import type { SourceEntities } from '../../postgres/entities.ts';
import { type Asking, type Left, mended, mendInBatches } from './ask.ts';
import type { EntityContents } from './deep.ts';
import { edgesOf } from './edges.ts';

export interface RepairContext extends Asking {
  readonly mapping: Mapping;
  readonly entities: EntityTable;
  readonly sql: Sql;
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
  const { entities, contents, source, nodes, mend } = context;

  async function ask(batch: readonly string[]): Promise<void> {
    await mend(
      entities.mapping,
      batch.map((id) => [id]),
      signal,
    );
    for await (const { table, keys } of edgesOf(batch, entities, context, signal))
      await mend(table, keys, signal);
  }

  return mendInBatches(
    ids,
    context,
    (id) => id,
    (batch) =>
      contents === undefined
        ? mended(batch, () => ask(batch), { source, graph: nodes, verdict: verdictOf }, context, signal)
        : mended(batch, () => ask(batch), contents, context, signal),
  );
}
