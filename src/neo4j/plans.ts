/**
 * Has the statements planned before the first batch needs them: one after the other, instead of once per partition at
 * once. But for the thorough ones, which are planned when the first row comes that is loaded or repaired.
 */
import type { Mapping } from '../core/mapping.ts';
import type { Graph } from './client.ts';
import { statementsOf, type TableStatements } from './statements.ts';

export async function planStatements(
  graph: Graph,
  mapping: Mapping,
  signal: AbortSignal,
  { filling = false } = {},
): Promise<void> {
  const planned = new Set<string>();
  for (const table of statementsOf(mapping).values())
    for (const statement of statementsIn(table, filling)) {
      if (planned.has(statement)) continue;
      planned.add(statement);
      signal.throwIfAborted();
      await graph.run(statement, { ...table.parameters, batch: { rows: [] } });
    }
}

function statementsIn(table: TableStatements, filling: boolean): string[] {
  const own = (table.kind === 'node' ? [table] : [...table.byType.values()]).flatMap(
    ({ upsert, create, remove }) => [upsert, remove, ...(filling ? [create] : [])],
  );
  return table.kind === 'node' ? own : [...own, ...table.sweep.map(({ statement }) => statement)];
}
