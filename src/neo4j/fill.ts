/**
 * The fast way to write what is not in the graph yet: a batch of new nodes is created, without a merge, a lock and a fate
 * for each.
 *
 *   all are upserts of nodes? ─▶ create them ─▶ none was there, none is forbidden? ─▶ commit with progress
 *              └─────────────────────┴──────────▶ nothing is written: the ordinary statements do it
 *
 * Guarantee (I7, I8): it writes what the ordinary statements would, behind the same fence and under the same locks on
 * keys, or nothing. Whether it is worth a try is a guess; after wrong ones it is made ever more rarely.
 */
import type { Transaction } from 'neo4j-driver';
import { isAppError } from '../core/errors.ts';
import type { KeyedMutation } from '../core/graph.ts';
import type { NodeTable, TableStatements } from './statements.ts';
import { ascending } from './sweep.ts';

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
    rowOf: (table: NodeTable, mutation: KeyedMutation) => readonly unknown[],
  ) => Fill | null;
}

const MOST_SKIPPED = 64;

class NotPlain extends Error {}

export function createFills(): Fills {
  /** By partition: how many batches are left to the ordinary statements before the next try, and after a wrong one. */
  const skips = new Map<string, { left: number; next: number }>();

  return {
    of(partition, table, mutations, rowOf) {
      if (table.kind !== 'node' || mutations.some(({ kind }) => kind !== 'node-upsert')) return null;
      const skip = skips.get(partition) ?? { left: 0, next: 1 };
      skips.set(partition, skip);
      if (skip.left > 0) {
        skip.left--;
        return null;
      }
      return {
        async create(open) {
          const rows = [...mutations].sort((a, b) => ascending(a.key, b.key)).map((m) => rowOf(table, m));
          const { records } = await open.run(table.create, { ...table.parameters, batch: { rows } });
          const [record] = records;
          if (record?.get('plain') !== true || record.get('steady') !== true) throw new NotPlain();
          return Number(record.get('applied'));
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
