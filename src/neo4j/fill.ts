/**
 * The fast way to write what is not in the graph yet: a batch of new nodes, or of new relationships whose ends are there,
 * is created, without a merge, a lock and a fate for each.
 *
 *   all are upserts? ─▶ create them ─▶ none was there, no end is missing, none is forbidden? ─▶ commit with progress
 *          └─────────────────┴──────────▶ nothing is written: the ordinary statements do it
 *
 * Guarantee (I7, I8): it writes what the ordinary statements would, behind the same fence and under the same locks on
 * keys, or nothing. Whether it is worth a try is a guess; after wrong ones it is made ever more rarely.
 */
import type { Transaction } from 'neo4j-driver';
import { isAppError } from '../core/errors.ts';
import type { KeyedMutation } from '../core/graph.ts';
import { rowsBy, statementsFor } from './rows.ts';
import type { TableStatements } from './statements.ts';

export interface Fill {
  /** Resolves to how many were created, all of them; rejects, with nothing to be committed, if that is not to be. */
  readonly create: (open: Transaction) => Promise<number>;
  /** Is this what `create` rejected with? Then the ordinary statements are to write them. */
  readonly declined: (error: unknown) => boolean;
}

export interface Fills {
  /** Null: it is not worth a try. */
  readonly of: (
    partition: string,
    table: TableStatements,
    mutations: readonly KeyedMutation[],
  ) => Fill | null;
}

const MOST_SKIPPED = 64;

class NotPlain extends Error {}

export function createFills(): Fills {
  /** By partition: how many batches are left to the ordinary statements before the next try, and after a wrong one. */
  const skips = new Map<string, { left: number; next: number }>();

  return {
    of(partition, table, mutations) {
      if (mutations.some(({ kind }) => kind.endsWith('-delete'))) return null;
      const skip = skips.get(partition) ?? { left: 0, next: 1 };
      skips.set(partition, skip);
      if (skip.left > 0) {
        skip.left--;
        return null;
      }
      return {
        async create(open) {
          const made = await Promise.all(
            [...rowsBy(mutations, (mutation) => statementsFor(table, mutation).create)].map(
              async ([statement, rows]) => {
                const { records } = await open.run(statement, { ...table.parameters, batch: { rows } });
                const [record] = records;
                const applied = Number(record?.get('applied') ?? 0);
                if (applied < rows.length || record?.get('plain') !== true || record.get('steady') !== true)
                  throw new NotPlain();
                return applied;
              },
            ),
          );
          return made.reduce((sum, applied) => sum + applied, 0);
        },
        declined(error) {
          if (!(error instanceof NotPlain) && !isAppError(error, 'NEO4J_CONSTRAINT')) return false;
          skip.left = skip.next;
          skip.next = Math.min(MOST_SKIPPED, skip.next * 2);
          return true;
        },
      };
    },
  };
}
