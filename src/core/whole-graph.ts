/**
 * What a comparison of whole tables has found (`--whole-graph`), read from the spool.
 *
 * A key is what is counted: relationships that share one are `different` if there is a row of it, else `not_deleted`.
 */
import type { SpoolLine } from './check-spool.ts';
import type { KeyParts } from './keys.ts';

export type WholeGraphLine = Extract<SpoolLine, { whole: string }>;
type Compared = Extract<WholeGraphLine, { drift: unknown }>;
export type WholeGraphDrift = Compared['drift'][number][1];

export type TableCounts = Readonly<Record<WholeGraphDrift | 'ok' | 'unconfirmed' | 'unnamed', number>>;

export interface WholeGraph {
  /** In alphabetical order. */
  readonly tables: ReadonlyMap<string, TableCounts>;
  readonly idleStubs: number;
  /** Of one table, in the order in which they were found. */
  readonly keys: (table: string, verdicts: readonly WholeGraphDrift[]) => AsyncIterable<KeyParts>;
  readonly idle: (table: string) => AsyncIterable<KeyParts>;
}

/** Of the run `run`; `tables`: those that it compared. */
export async function wholeGraphOf(
  run: string,
  tables: readonly string[],
  lines: () => AsyncIterable<SpoolLine>,
): Promise<WholeGraph> {
  async function* own(): AsyncGenerator<WholeGraphLine> {
    for await (const line of lines()) if ('whole' in line && line.whole === run) yield line;
  }
  const counts = new Map(
    [...tables].sort().map((table) => {
      return [table, { ok: 0, missing: 0, not_deleted: 0, different: 0, unconfirmed: 0, unnamed: 0 }];
    }),
  );
  let idleStubs = 0;
  for await (const line of own()) {
    if ('idle' in line) idleStubs += line.idle.length;
    const of = counts.get(line.table);
    if ('idle' in line || of === undefined) continue;
    of.ok += line.ok;
    of.unconfirmed += line.unconfirmed;
    of.unnamed += line.unnamed;
    for (const [, verdict] of line.drift) of[verdict]++;
  }
  return {
    tables: counts,
    idleStubs,
    async *keys(table, verdicts) {
      for await (const line of own()) {
        if ('idle' in line || line.table !== table) continue;
        for (const [key, verdict] of line.drift) if (verdicts.includes(verdict)) yield key;
      }
    },
    async *idle(table) {
      for await (const line of own()) if ('idle' in line && line.table === table) yield* line.idle;
    },
  };
}

/** How many keys differ. */
export function driftIn({ tables, idleStubs }: WholeGraph): number {
  let drift = idleStubs;
  for (const { missing, not_deleted, different } of tables.values())
    drift += missing + not_deleted + different;
  return drift;
}
