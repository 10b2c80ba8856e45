/**
 * We must not be a synchronous standby: commits would wait for us, and we wait for commits to be visible (I4). With
 * `synchronous_standby_names = '*'` any walsender is one.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { AppError } from '../core/errors.ts';
import type { Lsn } from '../core/lsn.ts';
import type { Log } from '../runtime/log.ts';
import type { Sql } from './client.ts';
import type { ReplicationStream } from './stream.ts';

const POLL_MS = 20;
const PATIENCE_MS = 2000;

/** `confirmed` is the slot's: PostgreSQL counts a walsender among the standbys once it has confirmed anything. */
export async function requireAsynchronous(
  sql: Sql,
  stream: ReplicationStream,
  confirmed: Lsn,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  stream.acknowledge(confirmed);
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const [row] = await sql.query<{ configured: boolean; state: string | null }>(
      `select current_setting('synchronous_standby_names') <> '' as configured,
              (select sync_state from pg_stat_replication where pid = $1 and flush_lsn is not null) as state`,
      [stream.backendPid],
      signal,
    );
    const { configured = false, state = null } = row ?? {};
    if (!configured || state === 'async') return;
    if (state !== null) {
      throw new AppError(
        'POSTGRES_SYNCHRONOUS',
        `This replicator would be a synchronous standby (${state}).`,
      );
    }
    if (performance.now() > deadline) break;
    await delay(POLL_MS, undefined, { signal });
  }
  log.warn({}, 'cannot see whether this is a synchronous standby: grant pg_read_all_stats to the user');
}
