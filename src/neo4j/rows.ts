/** Mutations as the rows of the statements that write them. */
import type { KeyedMutation } from '../core/graph.ts';
import type { Statements, TableStatements } from './statements.ts';
import { ascending } from './sweep.ts';

/** Throws RangeError for a mutation that is none of the table's. */
export function statementsFor(table: TableStatements, mutation: KeyedMutation): Statements {
  if (table.kind === 'node' && (mutation.kind === 'node-upsert' || mutation.kind === 'node-delete'))
    return table;
  if (table.kind === 'relationship' && 'type' in mutation) {
    const statements = table.byType.get(mutation.type);
    if (statements === undefined) throw new RangeError(`${mutation.type} is no type of ${mutation.table}`);
    return statements;
  }
  throw new RangeError(`a ${mutation.kind} does not fit ${mutation.table}`);
}

/** By statement, in the order of keys: batches that meet then lock in one order. */
export function rowsBy(
  mutations: readonly KeyedMutation[],
  statementOf: (mutation: KeyedMutation) => string,
): ReadonlyMap<string, readonly (readonly unknown[])[]> {
  const rowsByStatement = new Map<string, unknown[][]>();
  for (const mutation of [...mutations].sort((a, b) => ascending(a.key, b.key))) {
    const statement = statementOf(mutation);
    const rows = rowsByStatement.get(statement);
    if (rows === undefined) rowsByStatement.set(statement, [rowOf(mutation)]);
    else rows.push(rowOf(mutation));
  }
  return rowsByStatement;
}

function rowOf(mutation: KeyedMutation): unknown[] {
  const { key, position } = mutation;
  switch (mutation.kind) {
    case 'node-delete':
    case 'relationship-delete':
      return [key, position];
    case 'node-upsert':
      return [key, position, mutation.typeLabel === null ? [] : [mutation.typeLabel], ...mutation.values];
    case 'relationship-upsert':
      return [key, position, mutation.from, mutation.to, ...mutation.values];
  }
}
