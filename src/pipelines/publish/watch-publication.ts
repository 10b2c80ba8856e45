/**
 * What no change in the stream tells of: a table that is taken out of the publication, or renamed, or that has other
 * values without having been written to. Looked for every five seconds, and when the stream shows a table anew.
 *
 * On failure: SOURCE_CHANGED once changes may be missing; POSTGRES_SCHEMA while a table has another name;
 * TABLE_REWRITTEN once the next session has to load a table again.
 */
import { AppError } from '../../core/errors.ts';
import type { Mapping } from '../../core/mapping.ts';
import { ABSENT, changedPublication, type Published, rewrittenColumns } from '../../core/source-identity.ts';
import type { Sql } from '../../postgres/client.ts';
import { nameOfTable, publishedTables } from '../../postgres/publication.ts';
import { every } from '../../runtime/every.ts';
import { sourceChanged } from './prepare.ts';

export interface PublicationWatch {
  readonly look: () => Promise<void>;
  /** Looks until the signal. */
  readonly run: (signal: AbortSignal) => Promise<void>;
  /** What to record: as it was last seen, with nothing to be done about it. */
  readonly seen: () => Published;
}

const LOOK_EVERY_MS = 5_000;

/** `oids`: the mapped tables by oid. `expected`: as it was recorded when the session began. */
export function createPublicationWatch(
  sql: Sql,
  { source: { publication }, tables }: Mapping,
  oids: ReadonlyMap<number, { readonly table: string }>,
  expected: Published,
): PublicationWatch {
  let seen = expected;

  async function look(signal?: AbortSignal): Promise<void> {
    const now = await publishedTables(sql, { publication, tables }, signal);
    for (const [oid, { table }] of oids) {
      if (now[table] !== ABSENT) continue;
      const name = await nameOfTable(sql, oid);
      if (name === table) return; // its name is back
      if (name !== null) throw renamed(table, name);
    }
    const why = changedPublication(seen, now);
    if (why !== null) throw sourceChanged(why);
    const [first] = rewrittenColumns(seen, now, tables);
    if (first !== undefined) throw rewritten(first.table, first.column);
    // One half of what a rewriting changes must not wait for the other half, which something else may change.
    seen = { ...seen, ...now };
  }

  return {
    look: () => look(),
    run: (signal) => every(LOOK_EVERY_MS, signal, () => look(signal)),
    seen: () => seen,
  };
}

function renamed(table: string, name: string): AppError {
  return new AppError('POSTGRES_SCHEMA', `Table ${table} is called ${name} now.`, { context: { table } });
}

function rewritten(table: string, column: string): AppError {
  return new AppError(
    'TABLE_REWRITTEN',
    `Column ${column} of ${table} was replaced, retyped or rewritten: the rows it had changed without the stream.`,
    { context: { table, column } },
  );
}
