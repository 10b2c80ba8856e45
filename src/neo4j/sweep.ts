/** Stubs live as long as their relationships: once ends have lost one, those left alone go in the same transaction. */
import type { Transaction } from 'neo4j-driver';
import type { RelationshipTable } from './statements.ts';

export type Key = string | bigint;

/** The keys of a relationship's two nodes. */
export type Ends = readonly [from: Key, to: Key];

export async function sweep(
  open: Transaction,
  { sweep: statements }: RelationshipTable,
  left: readonly Ends[],
): Promise<void> {
  if (left.length === 0) return;
  await Promise.all(
    statements.map(({ side, statement }) =>
      open.run(statement, { batch: { rows: [...new Set(left.map((ends) => ends[side]))].sort(ascending) } }),
    ),
  );
}

export function ascending(a: Key, b: Key): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
