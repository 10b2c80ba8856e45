/**
 * A partition that is made, attached or altered is not as its table is, and the stream tells of it with its first
 * change, which may be one that lacks its old row.
 */
import type { Mapping } from '../../core/mapping.ts';
import type { Sql } from '../../postgres/client.ts';
import { checkKeys, partitionedTables } from '../../postgres/tables.ts';
import { every } from '../../runtime/every.ts';
import { refuse } from './prepare.ts';

const LOOK_EVERY_MS = 5_000;

/** Runs until the signal, if there are partitioned tables at all. Throws what a start would. */
export async function watchPartitions(sql: Sql, { tables }: Mapping, signal: AbortSignal): Promise<void> {
  const partitioned = await partitionedTables(sql, tables);
  if (partitioned.length === 0) return;
  await every(LOOK_EVERY_MS, signal, async () => {
    refuse(await checkKeys(sql, partitioned));
  });
}
