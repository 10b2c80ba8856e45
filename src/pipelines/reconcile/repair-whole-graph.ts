/**
 * The repair of what `--whole-graph` finds, by keys alone: a row that is asked for comes as it is, and what has no row
 * comes as a delete, of an idle stub too. (A delete of one that is held meanwhile leaves it the stub that it is.)
 */
import { graphKey } from '../../core/keys.ts';
import type { TableMapping } from '../../core/mapping.ts';
import type { WholeGraph } from '../../core/whole-graph.ts';
import { idleStubs } from '../../neo4j/contents.ts';
import { type Asking, both, type Left, mended, mendInBatches, NOTHING_LEFT } from './ask.ts';
import type { Comparing, Positioned, Versioned } from './confirm.ts';
import { keyOf, tableContents, type WholeGraphSources } from './whole-graph.ts';

/** Ids are `table ["key"]`. */
export async function repairWholeGraph(
  found: WholeGraph,
  { mapping, tables, sql, graph }: WholeGraphSources,
  asking: Asking,
  signal: AbortSignal,
): Promise<Left> {
  let left = NOTHING_LEFT;

  async function mendAll<S extends Versioned, G extends Positioned>(
    table: TableMapping,
    keys: AsyncIterable<readonly string[]>,
    comparing: Comparing<S, G>,
  ): Promise<void> {
    const named = (id: string) => `${table.table} ${id}`;
    const of = await mendInBatches(
      keys,
      asking,
      (key) => named(JSON.stringify(key)),
      async (batch) => {
        const ids = batch.map((key) => JSON.stringify(key));
        const ask = () => asking.mend(table, batch, signal);
        return (await mended(ids, ask, comparing, asking, signal)).map(named);
      },
    );
    left = both(left, of);
  }

  for (const table of mapping.tables) {
    const { target } = table;
    if (target.kind !== 'node') continue;
    const stubs = idleStubs(graph, target);
    await mendAll(table, found.idle(table.table), {
      verdict: (_, stub) => (stub === null ? null : 'not_deleted'),
      source: { byIds: () => Promise.resolve([]) },
      graph: {
        async byIds(ids) {
          const idle = new Set(await stubs.among(ids.map((id) => graphKey(table.key, keyOf(id)))));
          const still = ids.filter((id) => idle.has(graphKey(table.key, keyOf(id))));
          return still.map((id) => ({ id, position: '' }));
        },
      },
    });
  }
  for (const table of tables) {
    const keys = found.keys(table.table, ['missing', 'not_deleted', 'different']);
    await mendAll(table, keys, tableContents(sql, graph, table));
  }
  return left;
}
