/**
 * The repair of sync-data (design §6.4): it asks, and the stream answers (I1, I2).
 *
 *   ids ─▶ their keys and those of their relationships ─▶ republish requests ─▶ wait until applied ─▶ look again
 *
 * Requests wait for each other, so that the stream never has more than one batch of them. One that the publisher could not
 * serve yet comes again behind our marker: a repair is complete only when the graph, read again, equals PostgreSQL.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { batchesOf } from '../../core/batches.ts';
import { verdictOf } from '../../core/drift.ts';
import { isAppError } from '../../core/errors.ts';
import type { EntityTable } from '../../core/entity-table.ts';
import type { KeyParts } from '../../core/keys.ts';
import type { Mapping, TableMapping } from '../../core/mapping.ts';
import { REPUBLISH_PREFIX } from '../../core/messages.ts';
import { keyRequests } from '../../core/republish.ts';
import type { Graph } from '../../neo4j/client.ts';
import type { GraphEntities } from '../../neo4j/entities.ts';
import type { Sql } from '../../postgres/client.ts';
import type { SourceEntities } from '../../postgres/entities.ts';
import { emitMessage } from '../../postgres/messages.ts';
import { edgesOf } from './edges.ts';
import { pairsOf } from './scan.ts';

export interface RepairContext {
  readonly mapping: Mapping;
  readonly entities: EntityTable;
  readonly sql: Sql;
  readonly graph: Graph;
  readonly source: Pick<SourceEntities, 'byIds'>;
  readonly nodes: Pick<GraphEntities, 'byIds'>;
  readonly caughtUp: (timeoutMs: number) => Promise<void>;
  readonly maxWaitMs: number;
  readonly runId: string;
}

/** Those that still differ after a repair. */
export interface Left {
  readonly count: number;
  /** The first few of them. */
  readonly some: readonly string[];
}

const ENTITIES_AT_ONCE = 1000;
const NAMED = 10;
const LOOK_AGAIN_MS = 100;

/** Requests are durable: what is left may still be mended after that. */
export async function repair(
  ids: AsyncIterable<string>,
  context: RepairContext,
  signal: AbortSignal,
): Promise<Left> {
  const { entities, sql, runId } = context;
  let count = 0;
  let some: readonly string[] = [];

  async function ask(table: TableMapping, keys: readonly KeyParts[]): Promise<void> {
    for (const request of keyRequests(table, keys, { runId, reason: 'sync-data' }))
      await emitMessage(sql, REPUBLISH_PREFIX, JSON.stringify(request), signal);
  }

  for await (const batch of batchesOf(ids, ENTITIES_AT_ONCE)) {
    const edges = await edgesOf(batch, entities, context, signal);
    await ask(
      entities.mapping,
      batch.map((id) => [id]),
    );
    for (const { table, keys } of edges) await ask(table, keys);
    const left = await stillDiffering(batch, context, signal);
    count += left.length;
    some = some.concat(left).slice(0, NAMED);
  }
  return { count, some };
}

async function stillDiffering(
  ids: readonly string[],
  { source, nodes, caughtUp, maxWaitMs }: RepairContext,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const deadline = performance.now() + maxWaitMs;
  let open = ids;
  for (;;) {
    const before = await source.byIds(open, signal);
    try {
      await caughtUp(Math.max(1, deadline - performance.now()));
    } catch (error) {
      if (isAppError(error, 'TIMED_OUT')) return open;
      throw error;
    }
    const pairs = pairsOf(open, before, await nodes.byIds(open));
    open = pairs
      .filter((pair) => !['ok', null].includes(verdictOf(pair.source, pair.graph)))
      .map(({ id }) => id);
    if (open.length === 0 || performance.now() > deadline) return open;
    await delay(LOOK_AGAIN_MS, undefined, { signal });
  }
}
