/** Logical messages (I2): how we speak into the stream, in order with the changes and as durable as they are. */
import { type Lsn, parseLsn } from '../core/lsn.ts';
import { REPUBLISH_PREFIX, type RepublishRequest } from '../core/messages.ts';
import type { Sql } from './client.ts';

/**
 * Emits one transactional message and returns its LSN: once the slot's confirmed position has reached it, everything
 * committed before the call is in Kafka. Committed and flushed when resolved. `local`: a standby that is silent must
 * not hold us up; one statement, so that the setting ends with it.
 */
export async function emitMessage(
  sql: Sql,
  prefix: string,
  payload: string,
  signal?: AbortSignal,
): Promise<Lsn> {
  const rows = await sql.query<{ lsn: string }>(
    `select pg_catalog.set_config('synchronous_commit', 'local', true),
            pg_catalog.pg_logical_emit_message(true, $1::text, $2::text) as lsn`,
    [prefix, payload],
    signal,
  );
  return parseLsn(rows[0]?.lsn ?? '');
}

/** Whatever was committed, and flushed, before the call is behind it. */
export async function flushedLsn(sql: Sql, signal?: AbortSignal): Promise<Lsn> {
  const rows = await sql.query<{ lsn: string }>(
    'select pg_catalog.pg_current_wal_flush_lsn() as lsn',
    [],
    signal,
  );
  return parseLsn(rows[0]?.lsn ?? '');
}

/** Asks the publisher for rows (I2). As `emitMessage`. */
export function requestRepublish(sql: Sql, request: RepublishRequest, signal?: AbortSignal): Promise<Lsn> {
  return emitMessage(sql, REPUBLISH_PREFIX, JSON.stringify(request), signal);
}
