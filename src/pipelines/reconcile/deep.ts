/**
 * Entities with what they hold (`--deep`, `--print-diffs`): both sides read by id, PostgreSQL's as the stream would have
 * it. Without `--deep` it is still the timestamps that decide, and content is only shown.
 */
import { type ContentStamp, contentOfRow, verdictByContent } from '../../core/content.ts';
import { type ContentDiff, diffOf } from '../../core/content-diff.ts';
import { type Pair, verdictOf } from '../../core/drift.ts';
import type { EntityTable } from '../../core/entity-table.ts';
import { graphKey } from '../../core/keys.ts';
import { timestampMicros } from '../../core/values.ts';
import type { Graph } from '../../neo4j/client.ts';
import { graphContents } from '../../neo4j/contents.ts';
import type { Sql } from '../../postgres/client.ts';
import { sourceContents } from '../../postgres/contents.ts';
import { piecesOf } from './at-once.ts';
import type { Comparing, Confirmed, Positioned, Versioned } from './confirm.ts';
import { pairsOf } from './scan.ts';

type SourceEntity = ContentStamp & Versioned;
type GraphEntity = ContentStamp & Positioned;

export interface EntityContents extends Comparing<SourceEntity, GraphEntity> {
  /** Equal timestamps are not enough. */
  readonly deep: boolean;
  /** What differs is shown. */
  readonly diffs: boolean;
}

export function entityContents(
  sql: Sql,
  graph: Graph,
  { mapping, updatedAt }: EntityTable,
  { deep, diffs }: { readonly deep: boolean; readonly diffs: boolean },
): EntityContents {
  const rows = sourceContents(sql, mapping);
  const nodes = graphContents(graph, mapping);
  return {
    deep,
    diffs,
    verdict: deep ? verdictByContent : verdictOf,
    source: {
      holdable: (ids, signal) =>
        rows.holdable(
          ids.map((id) => [id]),
          signal,
        ),
      async byIds(ids, signal) {
        const found = await rows.byKeys(
          ids.map((id) => [id]),
          signal,
        );
        return found.map(({ key: [id = ''], version, row }) => ({
          id,
          version,
          micros: timestampMicros(String(row[updatedAt.column])),
          content: contentOfRow(row, mapping),
        }));
      },
    },
    graph: {
      async byIds(ids) {
        const found = await nodes.byKeys(ids.map((id) => graphKey(mapping.key, [id])));
        return found.map(({ key, position, content }) => {
          const micros = content.get(updatedAt.property);
          return { id: String(key), position, micros: typeof micros === 'bigint' ? micros : null, content };
        });
      },
    },
  };
}

/** Of those with equal timestamps, if that is not enough, the ids that have to be looked at more closely. */
export async function unlike(
  pairs: readonly Pair[],
  { deep, source, graph, verdict }: EntityContents,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const equal = pairs.filter((pair) => verdictOf(pair.source, pair.graph) === 'ok').map(({ id }) => id);
  const found = new Set<string>();
  if (!deep) return found;
  for await (const ids of piecesOf(equal, source, signal)) {
    const whole = pairsOf(ids, await source.byIds(ids, signal), await graph.byIds(ids));
    for (const { id, ...pair } of whole) if (verdict(pair.source, pair.graph) !== 'ok') found.add(id);
  }
  return found;
}

/** Of what is on both sides, as it was when it was confirmed. */
export function diffsOf(drift: Confirmed<SourceEntity, GraphEntity>['drift']): [string, ContentDiff][] {
  return drift.flatMap(({ id, source, graph }): [string, ContentDiff][] =>
    source === null || graph === null ? [] : [[id, diffOf(source, graph)]],
  );
}
