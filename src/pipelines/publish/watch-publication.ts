/** What is taken out of the publication is not in the stream: nothing in the stream tells of it. */
import type { Mapping } from '../../core/mapping.ts';
import { changedPublication, type Published } from '../../core/source-identity.ts';
import type { Sql } from '../../postgres/client.ts';
import { publishedTables } from '../../postgres/publication.ts';
import { every } from '../../runtime/every.ts';
import { sourceChanged } from './prepare.ts';

const LOOK_EVERY_MS = 5_000;

/** Runs until the signal. Throws SOURCE_CHANGED once a table is not published as `expected`. */
export async function watchPublication(
  sql: Sql,
  { source: { publication }, tables }: Mapping,
  expected: Published,
  signal: AbortSignal,
): Promise<void> {
  await every(LOOK_EVERY_MS, signal, async () => {
    const why = changedPublication(expected, await publishedTables(sql, { publication, tables }, signal));
    if (why !== null) throw sourceChanged(why);
  });
}
