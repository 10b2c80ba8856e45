/**
 * What the WAL holds of a row is what its partition has it hold: neither the replica identity nor anything else of the
 * table that it is published under. Pure rules; each problem names the partitions, with the statement for each.
 */
import { type Relation, tableName } from '../core/change.ts';
import type { ErrorCode } from '../core/errors.ts';
import { quoteTable, type TableName, tableNames } from './sql.ts';

export interface IdentityFacts {
  readonly replicaIdentity: Relation['replicaIdentity'];
  /** The columns of that identity, where it is an index or the primary key. */
  readonly identityColumns: readonly string[];
}

/** One that holds rows. A foreign table is none: it cannot be where there is a unique index. */
export interface PartitionFacts extends TableName, IdentityFacts {
  readonly unlogged: boolean;
}

/** What old rows have to carry: names of columns. */
export interface Wanted {
  readonly key: readonly string[];
  readonly large: readonly string[];
}

/** What it does not send with every update or delete that needs it. */
export function notSent(
  { replicaIdentity, identityColumns }: IdentityFacts,
  { key, large }: Wanted,
): 'large values' | 'key' | null {
  if (replicaIdentity === 'f') return null;
  if (large.length > 0) return 'large values';
  return key.every((name) => identityColumns.includes(name)) ? null : 'key';
}

interface PartitionProblem {
  readonly code: ErrorCode;
  readonly message: string;
}

/** At most one of a kind, however many partitions have it. */
export function partitionProblems(
  table: TableName,
  partitions: readonly PartitionFacts[],
  wanted: Wanted,
): PartitionProblem[] {
  const name = tableName(table);
  const without = (what: ReturnType<typeof notSent>) =>
    partitions.filter((of) => notSent(of, wanted) === what);
  const full = (of: TableName) => `alter table ${quoteTable(of)} replica identity full;`;
  const rules: [ErrorCode, readonly TableName[], string, (of: TableName) => string][] = [
    [
      'POSTGRES_SCHEMA',
      partitions.filter(({ unlogged }) => unlogged),
      'unlogged, so their changes are in no WAL (graph sync-data brings what they hold by now, afterwards)',
      (of) => `alter table ${quoteTable(of)} set logged;`,
    ],
    [
      'POSTGRES_REPLICA_IDENTITY',
      without('large values'),
      `without replica identity full of their own, so large values of ${wanted.large.join(', ')} are not sent with every update`,
      full,
    ],
    [
      'POSTGRES_REPLICA_IDENTITY',
      without('key'),
      `without the key (${wanted.key.join(', ')}) in their own replica identity, so deletes do not carry it`,
      full,
    ],
  ];
  return rules
    .filter(([, of]) => of.length > 0)
    .map(([code, of, why, remedy]) => ({
      code,
      message: `Partitions of ${name} are ${why}: ${tableNames(of)}: ${of.map(remedy).join(' ')}`,
    }));
}
