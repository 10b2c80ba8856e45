/** How far the publisher has come, by what the slot was told (I9). */
import { eventually, type Platform } from './platform.ts';

/** An LSN, in bytes. */
export async function confirmed(platform: Platform): Promise<bigint> {
  const { rows } = await platform.sql.query<{ bytes: string }>(
    `select confirmed_flush_lsn - '0/0'::pg_lsn as bytes from pg_replication_slots where slot_name = $1`,
    [platform.name],
  );
  return BigInt(rows[0]?.bytes ?? 0);
}

/** Resolves when everything that was committed before the call is in Kafka. */
export async function published(platform: Platform): Promise<void> {
  const { rows } = await platform.sql.query<{ bytes: string }>(
    `select pg_logical_emit_message(true, 'test', '') - '0/0'::pg_lsn as bytes`,
  );
  const end = BigInt(rows[0]?.bytes ?? 0);
  await eventually('everything is published', async () => (await confirmed(platform)) >= end);
}
