/**
 * A change that lacks what its record needs: a gap (I6). The WAL holds no more of it, whatever is altered afterwards, so
 * that it can never be published, and the slot cannot pass it.
 */
import { type Relation, tableName } from './change.ts';
import { AppError } from './errors.ts';

export function incompleteChange(relation: Pick<Relation, 'schema' | 'name'>, lacks: string): AppError {
  const table = tableName(relation);
  const reason =
    `a change of ${table} is in the WAL without ${lacks}: ${table}, or a partition of it, did not have its replica ` +
    'identity (alter table … replica identity full, for each partition too)';
  return new AppError('SOURCE_CHANGED', `A change can never be published: ${reason}.`, {
    context: { table, reason },
  });
}
